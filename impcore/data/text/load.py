"""The text data sets by name: examples, tokens (made once), and what they are judged by.

Invariant: a row of `LOADERS` is all that a data set adds; tokens are made or found by one function,
whose key names everything that they depend on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache as cache_once
from functools import partial
from typing import TYPE_CHECKING

from impcore.data.text import cache, encode, glue, hub, prose, squad, wikitext
from impcore.data.text.dataset import TextDataset, TextSplit
from impcore.data.text.examples import Examples, Passage, digest_of
from impcore.data.text.vocabulary import Vocabulary
from impcore.data.text.vocabulary import load as load_vocabulary
from impcore.data.text.vocabulary import train as train_vocabulary
from impcore.data.truth import Question, Reading, Truth
from impcore.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

SOURCES = ("files", "hub")


@dataclass(frozen=True)
class Options:
    """How a text data set is read; None takes the data set's own.

    Attributes:
        root: the folder of its files; None means the folder that $IMPCORE_DATA names.
        source: "files", the official ones, or "hub", through Hugging Face datasets.
        tokenizer: a directory or a hub name.
        max_length: tokens in a row at most.
        doc_stride: of SQuAD: a window begins every so many tokens.
    """

    root: str | None = None
    source: str = "files"
    tokenizer: str | None = None
    max_length: int | None = None
    doc_stride: int | None = None

    def vocabulary(self, name: str) -> Vocabulary:
        """The tokenizer that is asked for. Raises DataError if none is."""
        if self.tokenizer is None:
            raise DataError(
                f"{name}: no tokenizer given: set `tokenizer` in the recipe's [data] table, or "
                "model.path, to a directory or the name of a model on the hub"
            )
        return load_vocabulary(self.tokenizer)


def dataset(
    name: str,
    task: str,
    vocabulary: Vocabulary,
    parts: tuple[TextSplit, TextSplit],
    source: object,
    num_classes: int = 1,
) -> TextDataset:
    """The two splits as a data set of `vocabulary`."""
    return TextDataset(
        name=name,
        task=task,
        num_classes=num_classes,
        vocab_size=vocabulary.size,
        pad=vocabulary.pad,
        mask=vocabulary.mask,
        special=vocabulary.special,
        train=parts[0],
        test=parts[1],
        source=digest_of(source),
    )


def sentences(
    examples: Examples, vocabulary: Vocabulary, max_length: int, truth: Truth | None = None
) -> TextSplit:
    """Sentences or pairs as a split."""
    key = {"kind": "sentences", "max_length": max_length, "text": examples.fingerprint}
    make = partial(encode.sentences, examples, vocabulary, max_length)
    return TextSplit.of(_tokens(key, vocabulary, make), truth or Truth())


def running(lines: list[str], vocabulary: Vocabulary, max_length: int) -> TextSplit:
    """A running text as a split for masked language modelling."""
    key = {"kind": "blocks", "max_length": max_length, "text": digest_of(lines)}
    make = partial(encode.blocks, lines, vocabulary, max_length)
    return TextSplit.of(_tokens(key, vocabulary, make), Truth())


def _tokens(
    key: Mapping[str, object], vocabulary: Vocabulary, make: Callable[[], encode.Arrays]
) -> dict[str, Tensor]:
    return cache.arrays({**key, "tokenizer": vocabulary.fingerprint}, make)


def _glue(name: str, options: Options) -> TextDataset:
    task, length = glue.TASKS[name], options.max_length or 128
    if options.source == "hub":
        train, dev = hub.read_glue(name, options.root)
    else:
        train, dev = glue.read(task, options.root)
    vocabulary = options.vocabulary(name)
    parts: dict[str, tuple[int, int]] = {}
    for suffix, examples in dev.items():
        begin = max((end for _, end in parts.values()), default=0)
        parts[suffix] = (begin, begin + len(examples))
    truth = Truth(task.metrics, parts)
    splits = (
        sentences(train, vocabulary, length),
        sentences(_joined(dev), vocabulary, length, truth),
    )
    kind = ("classification", len(task.labels)) if task.labels else ("regression", 1)
    prints = [train.fingerprint, *(examples.fingerprint for examples in dev.values())]
    return dataset(name, kind[0], vocabulary, splits, prints, kind[1])


def _joined(parts: Mapping[str, Examples]) -> Examples:
    first = [text for part in parts.values() for text in part.first]
    second = [text for part in parts.values() for text in part.second or ()]
    targets = [target for part in parts.values() for target in part.targets]
    return Examples(first, second or None, targets)


def _squad(options: Options) -> TextDataset:
    read = hub.read_squad if options.source == "hub" else squad.read
    train, dev = read(options.root)
    vocabulary = options.vocabulary("squad")
    length, stride = options.max_length or 384, options.doc_stride or 128
    splits, prints = [], []
    for passages in (train, dev):
        print_ = digest_of(
            [[p.id, p.question, p.context, p.answers, p.answer_start] for p in passages]
        )
        key = {"kind": "windows", "max_length": length, "doc_stride": stride, "text": print_}
        make = partial(encode.windows, passages, vocabulary, length, stride)
        arrays = _tokens(key, vocabulary, make)
        splits.append(TextSplit.of(arrays, _reading(passages, arrays)))
        prints.append(print_)
    return dataset("squad", "extractive_qa", vocabulary, (splits[0], splits[1]), prints)


def _reading(passages: list[Passage], arrays: Mapping[str, Tensor]) -> Truth:
    questions = tuple(Question(p.id, p.context, p.answers) for p in passages)
    found = (arrays[name].numpy() for name in ("question", "starts", "offsets"))
    return Truth(("f1", "exact_match"), reading=Reading(questions, *found))


def _wikitext(options: Options) -> TextDataset:
    read = hub.read_wikitext if options.source == "hub" else wikitext.read
    train, dev = read(options.root)
    vocabulary, length = options.vocabulary("wikitext"), options.max_length or 128
    splits = running(train, vocabulary, length), running(dev, vocabulary, length)
    return dataset("wikitext", "mlm", vocabulary, splits, [digest_of(train), digest_of(dev)])


@cache_once
def _prose_vocabulary() -> Vocabulary:
    return train_vocabulary(prose.read().paragraphs[0], prose.VOCABULARY)


def _prose(options: Options) -> TextDataset:
    vocabulary, length = _prose_vocabulary(), options.max_length or prose.MAX_LENGTH
    train, test = prose.read().paragraphs
    splits = running(train, vocabulary, length), running(test, vocabulary, length)
    return dataset("prose", "mlm", vocabulary, splits, [digest_of(train), digest_of(test)])


def _prose_task(name: str, options: Options) -> TextDataset:
    vocabulary, length = _prose_vocabulary(), options.max_length or prose.MAX_LENGTH
    train, test = prose.examples(name)
    splits = sentences(train, vocabulary, length), sentences(test, vocabulary, length)
    prints = [train.fingerprint, test.fingerprint]
    return dataset(name, "classification", vocabulary, splits, prints, prose.TASKS[name][1])


LOADERS: Mapping[str, Callable[[Options], TextDataset]] = {
    **{name: partial(_glue, name) for name in glue.TASKS},
    "squad": _squad,
    "wikitext": _wikitext,
    "prose": _prose,
    **{name: partial(_prose_task, name) for name in prose.TASKS},
}
"""Name -> loader."""
