"""BERT (Devlin et al. 2019) of Hugging Face transformers, with the head of a task on it.

Invariant: whatever the task, the encoder and its pooler are the same, under Hugging Face's names
(bert.encoder.layer.0.attention.self.query.weight, ..., bert.pooler.dense.weight), so masks and
tickets carry over between tasks; and what is pruned by default is those linear layers only: in
BERT-base 12 x 7,077,888 + 589,824 = 85,524,480 weights, as in Chen et al. 2020 (BERT-Tickets).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

from torch import Tensor, nn

from impcore import pretrained
from impcore.errors import CheckpointError, MissingExtraError
from impcore.models.names import BERT, Names
from impcore.models.weights import FILES, Taken, take

try:
    from transformers import AutoConfig, BertConfig
    from transformers.models.bert.modeling_bert import (
        BertModel,
        BertOnlyMLMHead,
        BertPreTrainedModel,
    )
    from transformers.utils import cached_file
except ImportError as error:
    raise MissingExtraError(
        "arch: 'bert' needs Hugging Face transformers, which is not installed: "
        "pip install 'impcore[hf]'"
    ) from error


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
        """Map int64 [B, L] each to the hidden states [B, L, H] and the pooled state [B, H].

        Nothing is read back from the device.
        """
        if self.config._attn_implementation == "sdpa":
            # As transformers would make it, but for a batch without padding too: to leave the mask
            # out there it asks the device, every step, and not while a CUDA graph is recorded.
            attention_mask = attention_mask.bool()[:, None, None, :]
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

    def names_in_files(self) -> Names:
        """Return Hugging Face's names. See `impcore.models.weights`."""
        return BERT

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
    """Logits [K, vocabulary] of K masked tokens; the decoder is tied to the word embeddings, unless
    its config says otherwise.

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
        """Return the head; without the decoder's weight where that is the embeddings'."""
        own = "bias" if self.config.tie_word_embeddings else "*"
        return ["cls.predictions.bias", f"cls.predictions.decoder.{own}", "cls.predictions.t*"]

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
    hidden_size: int,
    layers: int,
    heads: int,
    intermediate_size: int,
    positions: int,
    dropout: float,
    initializer_range: float,
) -> Bert:
    """Make a fresh BERT for `task`; arguments and errors as in `impcore.models.build_text`."""
    config = BertConfig(
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate_size,
        vocab_size=vocab_size,
        pad_token_id=pad_token,
        max_position_embeddings=positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=initializer_range,
        num_labels=num_classes,
    )
    return _model(task, num_classes)(config)


def load(path: str, *, task: str, num_classes: int, vocab_size: int) -> tuple[Bert, Taken]:
    """A BERT of the sizes and weights at `path`; as `impcore.models.load_text`."""
    kind = _model(task, num_classes)
    config, weights = _files(_source(path))
    if config.model_type != "bert":
        raise CheckpointError(f"{path}: is a {config.model_type!r} model; should be 'bert'")
    for key in ("is_decoder", "add_cross_attention"):
        if getattr(config, key, False):
            raise CheckpointError(
                f"{path}: {key} is {getattr(config, key)!r} in its config.json, which makes a "
                "decoder of it; should be false"
            )
    if config.vocab_size < vocab_size:
        raise CheckpointError(
            f"{path}: embeds {config.vocab_size} tokens; should be the {vocab_size} of the "
            "tokenizer"
        )
    if config.type_vocab_size < 2:
        raise CheckpointError(
            f"{path}: type_vocab_size is {config.type_vocab_size} in its config.json; should be 2 "
            "or more: the second text of a pair is of another type than the first"
        )
    config.num_labels = num_classes
    try:
        model = kind(config)
    except Exception as error:  # what a wrong size ends in is of a dozen unrelated types
        raise CheckpointError(
            f"{path}: no BERT can be made by its config.json: {type(error).__name__}: "
            f"{str(error)[:300]}"
        ) from error
    return model, take(model, weights)


def config_of(path: str) -> str:
    """The config.json at `path`; as `impcore.models.config_of_text`."""
    text: str = _files(_source(path))[0].to_json_string()
    return text


def _source(path: str) -> str:
    """`path` for transformers, if it is a folder that can be one, or a hub name."""
    source = pretrained.source(path)
    if source is None:
        raise CheckpointError(
            f"{path}: is not a directory; should hold config.json and model.safetensors, as "
            "transformers' save_pretrained writes them, or be the name of a model on the hub"
        )
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise CheckpointError(f"{path}: has no config.json, which says the sizes of the model")
    return source


def _model(task: str, num_classes: int) -> type[Bert]:
    if task not in MODELS:
        raise ValueError(f"task: {task!r} is not one of {', '.join(MODELS)}")
    if task != "classification" and num_classes != 1:
        raise ValueError(f"num_classes: {num_classes}, but task {task!r} has 1")
    return MODELS[task]


def _files(source: str) -> tuple[Any, str]:
    """The config and the file of weights of a directory, or of a model on the hub."""
    try:
        # Not None, with which transformers would ask whoever sits at the terminal.
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        for name in FILES:
            found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
            if found is not None:
                return config, found
    except Exception as error:  # a malformed file raises a dozen unrelated types there
        raise CheckpointError(f"{source}: {pretrained.reason(error, source)}") from error
    raise CheckpointError(f"{source}: has neither {' nor '.join(FILES)}")
