"""BERT (Devlin et al. 2019) of Hugging Face transformers, with the head of a task on it.

Invariant: whatever the task, the encoder and its pooler are the same, under Hugging Face's names
(bert.encoder.layer.0.attention.self.query.weight, ..., bert.pooler.dense.weight), so masks and
tickets carry over between tasks; and what is pruned by default is those linear layers only: in
BERT-base 12 x 7,077,888 + 589,824 = 85,524,480 weights, as in Chen et al. 2020 (BERT-Tickets).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from impcore.errors import MissingExtraError

try:
    from transformers import BertConfig
    from transformers.models.bert.modeling_bert import (
        BertModel,
        BertOnlyMLMHead,
        BertPreTrainedModel,
    )
    from transformers.utils import logging as hf_logging
except ImportError as error:
    raise MissingExtraError(
        "arch: 'bert' needs Hugging Face transformers, which is not installed: "
        "pip install 'impcore[hf]'"
    ) from error

_log = logging.getLogger(__name__)


class Bert(BertPreTrainedModel):  # type: ignore[misc]
    """The encoder with its pooler, and what all heads share; a subclass is a head."""

    HEAD: ClassVar[str]

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.bert = BertModel(config)
        self.make_head(config)
        self.post_init()

    def make_head(self, config: BertConfig) -> None:
        """Add the modules of the head."""
        raise NotImplementedError

    def encode(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Map int64 [B, L] each to the hidden states [B, L, H] and the pooled state [B, H]."""
        output = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        )
        return output.last_hidden_state, output.pooler_output

    def prunable_patterns(self) -> list[str]:
        """Return the linear layers of the encoder, and the pooler; not embeddings, not the head."""
        return ["bert.encoder.layer.*", "bert.pooler.dense.*"]

    def block_patterns(self, granularity: str) -> dict[str, list[str]]:
        """Return the encoder's layers, layer.0 first; the pooler belongs to none of them.

        A transformer has one granularity, so "stage" and "block" are the same.
        """
        if granularity not in ("stage", "block"):
            raise ValueError(f"granularity: {granularity!r} is neither 'stage' nor 'block'")
        count = self.config.num_hidden_layers
        return {f"layer.{i}": [f"bert.encoder.layer.{i}.*"] for i in range(count)}

    def head_patterns(self) -> list[str]:
        """Return the head, without the pooler. See `impcore.models.head_of`."""
        return [f"{self.HEAD}.*"]


class BertClassifier(Bert):
    """Logits [B, num_classes] of the pooled state, after dropout."""

    HEAD = "classifier"

    def make_head(self, config: BertConfig) -> None:
        """Add dropout and a linear layer."""
        given = config.classifier_dropout
        self.dropout = nn.Dropout(config.hidden_dropout_prob if given is None else given)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Map int64 [B, L] each to [B, num_classes]."""
        _, pooled = self.encode(input_ids, attention_mask, token_type_ids)
        return cast(Tensor, self.classifier(self.dropout(pooled)))


class BertRegressor(BertClassifier):
    """One number [B] of the pooled state, after dropout."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Map int64 [B, L] each to [B]."""
        return super().forward(input_ids, attention_mask, token_type_ids).squeeze(1)


class BertReader(Bert):
    """Scores [B, L, 2] of each token as the first and as the last of the answer."""

    HEAD = "qa_outputs"

    def make_head(self, config: BertConfig) -> None:
        """Add a linear layer."""
        self.qa_outputs = nn.Linear(config.hidden_size, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Map int64 [B, L] each to [B, L, 2]."""
        hidden, _ = self.encode(input_ids, attention_mask, token_type_ids)
        return cast(Tensor, self.qa_outputs(hidden))


class BertMasked(Bert):
    """Logits [K, vocabulary] of K masked tokens; the decoder is tied to the word embeddings.

    Only the masked places are decoded: the others have no loss, and a vocabulary is wide.
    """

    HEAD = "cls"
    _tied_weights_keys: ClassVar[dict[str, str]] = {
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }

    def make_head(self, config: BertConfig) -> None:
        """Add transform, decoder and bias."""
        self.cls = BertOnlyMLMHead(config)

    def get_output_embeddings(self) -> nn.Module:
        """The decoder, which transformers ties to the embeddings."""
        return cast(nn.Module, self.cls.predictions.decoder)

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the decoder."""
        self.cls.predictions.decoder = new_embeddings

    def head_patterns(self) -> list[str]:
        """Return the head without the decoder's weight, which is the embeddings'."""
        return ["cls.predictions.bias", "cls.predictions.decoder.bias", "cls.predictions.t*"]

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, positions: Tensor
    ) -> Tensor:
        """Map int64 [B, L] each, and places int64 [K] in [0, B L), to [K, vocabulary]."""
        hidden, _ = self.encode(input_ids, attention_mask, token_type_ids)
        return cast(Tensor, self.cls(hidden.flatten(0, 1).index_select(0, positions)))


MODELS: dict[str, type[Bert]] = {
    "classification": BertClassifier,
    "regression": BertRegressor,
    "extractive_qa": BertReader,
    "mlm": BertMasked,
}
"""Task → the model with its head."""


def build(
    *,
    task: str,
    num_classes: int,
    vocab_size: int,
    pad_token: int,
    path: str | None,
    hidden_size: int | None,
    layers: int | None,
    heads: int | None,
    intermediate_size: int | None,
    positions: int,
    dropout: float,
) -> Bert:
    """Load or make a BERT for `task`; arguments and errors as in `impcore.models.build_text`."""
    if task not in MODELS:
        raise ValueError(f"task: {task!r} is not one of {', '.join(MODELS)}")
    sizes = {
        "hidden_size": hidden_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate_size,
    }
    given = [name for name, size in sizes.items() if size is not None]
    if path is not None:
        if given:
            raise ValueError(
                f"path: {path!r} has its own sizes; {', '.join(given)} must not be given"
            )
        return _load(MODELS[task], path, num_classes, vocab_size)
    if len(given) < len(sizes):
        raise ValueError(f"path: none given, so all of {', '.join(sizes)} are needed")
    config = BertConfig(
        **sizes,
        vocab_size=vocab_size,
        pad_token_id=pad_token,
        max_position_embeddings=positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=num_classes,
    )
    return MODELS[task](config)


def _load(kind: type[Bert], path: str, num_classes: int, vocab_size: int) -> Bert:
    """The weights at `path` in a model with a head; what they lack is drawn, the head as a rule."""
    if path.startswith((".", "/", "~")) and not Path(path).expanduser().is_dir():
        raise FileNotFoundError(
            f"path: {path!r} is not a directory; should hold config.json and model.safetensors, as "
            "transformers' save_pretrained writes them, or be the name of a model on the hub"
        )
    path = str(Path(path).expanduser()) if path.startswith("~") else path
    with _quiet():
        config = BertConfig.from_pretrained(path, num_labels=num_classes)
        if config.model_type != "bert":
            raise ValueError(f"path: {path!r} is a {config.model_type!r} model, not 'bert'")
        if config.vocab_size < vocab_size:
            raise ValueError(
                f"path: {path!r} embeds {config.vocab_size} tokens, the tokenizer has {vocab_size}"
            )
        model, info = kind.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    _check_loaded(model, path, info)
    return cast(Bert, model)


def _check_loaded(model: Bert, path: str, info: dict[str, Any]) -> None:
    """Raise ValueError if anything but the head and the pooler was not in the weights."""
    lost = [*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])]
    head = f"{model.HEAD}."
    encoder = [name for name in lost if not name.startswith((head, "bert.pooler."))]
    if encoder:
        raise ValueError(
            f"path: the weights at {path!r} lack {len(encoder)} tensors of a BERT encoder, "
            f"{encoder[0]} among them"
        )
    if any(name.startswith("bert.pooler.") for name in lost):
        _log.warning("the weights at %s have no pooler: it starts at random", path)
    # bfloat16 or float16 files are widened, and transformers leaves a loaded model in eval mode.
    model.float().train()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' report of missing heads and its progress bars off the terminal."""
    level, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()
