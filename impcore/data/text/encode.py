"""Examples to tokens: [CLS] first [SEP], [CLS] first [SEP] second [SEP], or windows of a context.

Invariant: the result is a dictionary of flat arrays, so that it can be cached as one file and read
as a memory map: `tokens` int32 of all rows one after another, `starts` int64 [rows + 1], `second`
int32 [rows], the place of the second segment in a row (its length if there is none), `targets`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from impcore.data.text.examples import Examples, Passage
from impcore.data.text.vocabulary import Vocabulary
from impcore.errors import DataError

Arrays = dict[str, NDArray[Any]]
_CHUNK = 4096


def sentences(examples: Examples, vocabulary: Vocabulary, max_length: int) -> Arrays:
    """One row an example, in order; of a pair that is too long the longer sentence is cut, token by
    token, as BERT's run_classifier.py has it. Targets: int64, or float32 if any is not an int.
    """
    first = _ids(examples.first, vocabulary)
    second = None if examples.second is None else _ids(examples.second, vocabulary)
    rows, places = [], []
    for number in range(len(examples)):
        one = first[number]
        two = None if second is None else second[number]
        row, place = _row(vocabulary, one, two, max_length)
        rows.append(row)
        places.append(place)
    whole = all(isinstance(target, int) for target in examples.targets)
    targets = np.asarray(examples.targets, dtype=np.int64 if whole else np.float32)
    return _flat(rows) | {"second": np.asarray(places, dtype=np.int32), "targets": targets}


def _row(
    vocabulary: Vocabulary, first: list[int], second: list[int] | None, max_length: int
) -> tuple[list[int], int]:
    if second is None:
        row = [vocabulary.cls, *first[: max_length - 2], vocabulary.sep]
        return row, len(row)
    a, b = shortened(len(first), len(second), max_length - 3)
    row = [vocabulary.cls, *first[:a], vocabulary.sep, *second[:b], vocabulary.sep]
    return row, a + 2


def shortened(first: int, second: int, room: int) -> tuple[int, int]:
    """The lengths that are left of two sentences if the longer one loses its last token, the second
    at a tie, until both fit into `room`.
    """
    if first + second <= room:
        return first, second
    kept = min(first, max(room - room // 2, room - second))
    return kept, room - kept


def windows(
    passages: Sequence[Passage], vocabulary: Vocabulary, max_length: int, stride: int
) -> Arrays:
    """[CLS] question [SEP] window of the context [SEP]: a window every `stride` tokens.

    Targets int64 [rows, 2] are the first and last token of the first answer in the row, or (0, 0),
    the classification token, where the answer is not whole in the window. Further arrays:
    `question` int64 [rows], the number of the passage; `offsets` int32 [tokens, 2], where each
    token of the context begins and ends in it, (0, 0) for the others.

    Raises:
        DataError: a question leaves fewer than `stride` tokens for its context.
    """
    contexts = dict.fromkeys(passage.context for passage in passages)
    encoded = dict(zip(contexts, _encode(list(contexts), vocabulary), strict=True))
    asked = _ids([passage.question for passage in passages], vocabulary)
    rows, places, targets, numbers, offsets = [], [], [], [], []
    for number, (passage, question) in enumerate(zip(passages, asked, strict=True)):
        ids, spans = encoded[passage.context]
        room = max_length - len(question) - 3
        if room < stride:
            raise DataError(
                f"question {passage.id!r} has {len(question)} tokens, which leaves {room} of "
                f"data.max_length = {max_length} for its context; should leave data.doc_stride = "
                f"{stride}"
            )
        answer = _answer(spans, passage)
        for begin in _windows(len(ids), room, stride):
            place, end = len(question) + 2, min(begin + room, len(ids))
            rows.append(
                [vocabulary.cls, *question, vocabulary.sep, *ids[begin:end], vocabulary.sep]
            )
            inside = begin <= answer[0] <= answer[1] < end
            targets.append([at - begin + place for at in answer] if inside else [0, 0])
            places.append(place)
            numbers.append(number)
            offsets += [
                np.zeros((place, 2), np.int32),
                spans[begin:end],
                np.zeros((1, 2), np.int32),
            ]
    return _flat(rows) | {
        "second": np.asarray(places, dtype=np.int32),
        "targets": np.asarray(targets, dtype=np.int64),
        "question": np.asarray(numbers, dtype=np.int64),
        "offsets": np.concatenate(offsets, dtype=np.int32),
    }


def _windows(count: int, room: int, stride: int) -> Iterator[int]:
    """Where the windows of a context of `count` tokens begin; the last one reaches its end."""
    begin = 0
    while begin + room < count:
        yield begin
        begin += stride
    yield begin


def _answer(spans: NDArray[np.int32], passage: Passage) -> tuple[int, int]:
    """The first and the last token of the first answer; (-1, -1) if no token is of it."""
    begin, end = passage.answer_start, passage.answer_start + len(passage.answers[0])
    inside = np.flatnonzero((spans[:, 1] > begin) & (spans[:, 0] < end))
    return (int(inside[0]), int(inside[-1])) if len(inside) else (-1, -1)


def blocks(lines: Sequence[str], vocabulary: Vocabulary, max_length: int) -> Arrays:
    """A running text as rows of `max_length` tokens, the last as long as what is left.

    Lines follow one another without a separator; empty ones are left out, and so are rows of
    special tokens alone (a text may spell them), in which nothing could be predicted.

    Raises:
        DataError: no row is left.
    """
    texts = [line for line in lines if line.strip()]
    ids = [token for row in _ids(texts, vocabulary) for token in row]
    room, special = max_length - 2, set(vocabulary.special)
    pieces = (ids[begin : begin + room] for begin in range(0, len(ids), room))
    kept = (piece for piece in pieces if not special.issuperset(piece))
    rows = [[vocabulary.cls, *piece, vocabulary.sep] for piece in kept]
    if not rows:
        raise DataError(f"text: {len(lines)} lines without a token that could be predicted")
    lengths = np.asarray([len(row) for row in rows], dtype=np.int32)
    return _flat(rows) | {"second": lengths, "targets": np.zeros(len(rows), np.int64)}


def _flat(rows: Sequence[Sequence[int]]) -> Arrays:
    starts = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum([len(row) for row in rows], out=starts[1:])
    tokens = np.fromiter((token for row in rows for token in row), np.int32, int(starts[-1]))
    return {"tokens": tokens, "starts": starts}


def _ids(texts: Sequence[str], vocabulary: Vocabulary) -> list[list[int]]:
    found: list[list[int]] = []
    for begin in range(0, len(texts), _CHUNK):
        batch = list(texts[begin : begin + _CHUNK])
        encoded = vocabulary.tokenizer.encode_batch_fast(batch, add_special_tokens=False)
        found += [one.ids for one in encoded]
    return found


def _encode(
    texts: Sequence[str], vocabulary: Vocabulary
) -> list[tuple[list[int], NDArray[np.int32]]]:
    """The tokens of each text, and where each begins and ends in it: int32 [tokens, 2]."""
    found = []
    for begin in range(0, len(texts), _CHUNK):
        batch = list(texts[begin : begin + _CHUNK])
        for one in vocabulary.tokenizer.encode_batch(batch, add_special_tokens=False):
            found.append((one.ids, np.asarray(one.offsets, dtype=np.int32).reshape(-1, 2)))
    return found
