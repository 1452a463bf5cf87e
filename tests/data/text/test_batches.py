from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from impcore.data.share import Share
from impcore.data.text.batches import MULTIPLE, TextBatches
from impcore.data.text.dataset import TextDataset, TextSplit
from impcore.errors import DataError

SIZE, PAD, MASK = 90, 0, 4


def split(lengths: list[int], seed: int = 0) -> TextSplit:
    """Rows of tokens 5 to SIZE - 1 between 2 and 3, second segments somewhere, targets the rows."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.tensor([0, *lengths]).cumsum(0)
    tokens = torch.randint(5, SIZE, (int(starts[-1]),), dtype=torch.int32, generator=generator)
    tokens[starts[:-1]], tokens[starts[1:] - 1] = 2, 3
    second = torch.tensor([1 + n % length for n, length in enumerate(lengths)], dtype=torch.int32)
    return TextSplit(tokens, starts, second, torch.arange(len(lengths)))


def batches(rows: TextSplit, task: str = "classification", **options: Any) -> TextBatches:
    dataset = TextDataset("t", task, len(rows), SIZE, PAD, MASK, (0, 2, 3, 4), rows, rows, "")
    return TextBatches(rows, dataset, **({"batch_size": 4} | options))


def equal(left: list, right: list) -> bool:
    return len(left) == len(right) and all(
        x.keys() == other_x.keys()
        and all(torch.equal(x[key], other_x[key]) for key in x)
        and torch.equal(y, other_y)
        for (x, y), (other_x, other_y) in zip(left, right, strict=True)
    )


TASKS = st.sampled_from(["classification", "mlm"])
LENGTHS = st.lists(st.integers(3, 30), min_size=1, max_size=40)


@settings(deadline=None, max_examples=50)
@given(
    LENGTHS,
    st.integers(1, 12),
    st.integers(0, 99),
    TASKS,
    st.data(),
)
def test_going_on_at_any_step_gives_the_bits_of_an_uninterrupted_pass(
    lengths: list[int], size: int, epoch: int, task: str, data: st.DataObject
) -> None:
    rows = split(lengths)
    made, again = (batches(rows, task, batch_size=size, seed=3) for _ in range(2))
    whole = list(made.epoch(epoch))
    assert len(whole) == made.steps_per_epoch
    start = data.draw(st.integers(0, len(whole)))
    assert equal(list(again.epoch(epoch, start)), whole[start:])


@given(LENGTHS, st.integers(1, 12))
def test_a_batch_is_its_rows_padded_to_the_longest(lengths: list[int], size: int) -> None:
    rows = split(lengths)
    seen: list[int] = []
    for inputs, targets in (*batches(rows, batch_size=size).epoch(0),):
        longest = max(lengths[n] for n in targets)
        assert inputs["input_ids"].shape[1] == -(-longest // MULTIPLE) * MULTIPLE
        for place, number in enumerate(targets.tolist()):
            begin, length = int(rows.starts[number]), lengths[number]
            ids = inputs["input_ids"][place]
            assert ids[:length].tolist() == rows.tokens[begin : begin + length].tolist()
            assert not ids[length:].any()
            real = inputs["attention_mask"][place]
            assert real.tolist() == [1] * length + [0] * (len(ids) - length)
            second = int(rows.second[number])
            kinds = inputs["token_type_ids"][place].tolist()
            assert kinds == [int(second <= i < length) for i in range(len(ids))]
        seen += targets.tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_evaluation_is_in_order() -> None:
    made = batches(split([5, 9, 3, 20, 4]))
    assert [y.tolist() for _, y in made.eval_batches(2)] == [[0, 1], [2, 3], [4]]
    assert len(made) == 5


def masked(made: TextBatches, size: int) -> dict[tuple[int, int], tuple[int, int]]:
    """(row, place) -> (what was put there, what had been there), of an evaluation."""
    found, first = {}, 0
    for inputs, targets in made.eval_batches(size):
        length = inputs["input_ids"].shape[1]
        flat = inputs["input_ids"].flatten()
        for at, target in zip(inputs["positions"].tolist(), targets.tolist(), strict=True):
            found[first + at // length, at % length] = (int(flat[at]), target)
        first += len(inputs["input_ids"])
    return found


def test_masks_hide_fifteen_percent_of_each_row_and_nothing_special() -> None:
    lengths = [3, 4, 9, 22, 102, 42] * 5
    rows = split(lengths)
    found = masked(batches(rows, "mlm"), 4)
    for number, length in enumerate(lengths):
        mine = {place for row, place in found if row == number}
        assert len(mine) == max(1, round((length - 2) * 0.15))
        assert all(0 < place < length - 1 for place in mine)
    for (row, place), (_, target) in found.items():
        assert target == int(rows.tokens[rows.starts[row] + place])


def test_a_row_of_special_tokens_alone_is_refused_where_tokens_are_predicted() -> None:
    rows = split([5, 4, 6])
    rows.tokens[5:9] = torch.tensor([2, MASK, 3, 3])
    batches(rows)
    with pytest.raises(DataError, match="t: row 1 is 4 special tokens; should hold others"):
        batches(rows, "mlm")
    rows.tokens[6] = 1  # an unknown word can be predicted
    assert [len(targets) for _, targets in batches(rows, "mlm").eval_batches(1)] == [1, 1, 1]


def test_masks_of_evaluation_do_not_depend_on_the_batch_size_but_training_draws_anew() -> None:
    rows = split([7, 30, 12, 18, 25] * 4)
    made = batches(rows, "mlm")
    assert masked(made, 1) == masked(made, 3) == masked(made, 20)
    one, two = (next(made.epoch(epoch))[0] for epoch in (0, 1))
    assert not torch.equal(one["positions"], two["positions"])


def test_eighty_percent_are_masked_ten_random_ten_kept() -> None:
    found = masked(batches(split([102] * 200), "mlm"), 50).values()
    count = len(found)
    hidden = sum(put == MASK for put, _ in found) / count
    kept = sum(put == target for put, target in found) / count
    assert count == 3000
    assert abs(hidden - 0.8) < 0.04
    assert abs(kept - 0.1) < 0.03
    assert all(0 <= put < SIZE for put, _ in found)


@pytest.mark.parametrize("task", ["classification", "mlm"])
def test_writing_into_a_batch_changes_no_later_one_nor_the_global_generator(task: str) -> None:
    made = batches(split([5, 9, 3, 20, 4]), task)

    def every() -> list:
        both = (*made.epoch(0), *made.eval_batches())
        return [({key: x.clone() for key, x in inputs.items()}, y.clone()) for inputs, y in both]

    state, before = torch.get_rng_state(), every()
    for inputs, targets in (*made.epoch(0), *made.eval_batches()):
        for tensor in (*inputs.values(), targets):
            tensor.zero_()
    assert equal(every(), before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("options", "message"), [({"batch_size": 0}, "batch_size: 0"), ({"seed": True}, "seed: True")]
)
def test_bad_arguments_are_quoted(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batches(split([5, 6]), **options)
    with pytest.raises(ValueError, match="beyond the 1 steps"):
        batches(split([5, 6])).epoch(0, 2)


def test_shares_together_are_the_batch() -> None:
    rows = split([3 + n % 7 for n in range(23)])
    shared = [batches(rows, batch_size=6, share=Share(rank, 3)) for rank in range(3)]
    whole = [targets.tolist() for _, targets in batches(rows, batch_size=6).epoch(2)]
    # The last five rows are no two for each of three, and join the batch before them.
    parts = zip(*(made.epoch(2) for made in shared), strict=True)
    together = [[t for _, targets in part for t in targets.tolist()] for part in parts]
    assert together == [*whole[:2], whole[2] + whole[3]]
    for made in shared:
        taken = [targets.tolist() for _, targets in made.epoch(2, whole=True)]
        assert taken == together
    dealt = [made.eval_batches(4) for made in shared]
    found = sorted(t for part in dealt for _, targets in part for t in targets.tolist())
    assert found == list(range(23))


@given(st.lists(st.integers(3, 60), min_size=6, max_size=40), st.integers(1, 3))
def test_shares_are_masked_as_the_batch_is(lengths: list[int], ranks: int) -> None:
    rows, size = split(lengths), 2 * ranks
    alone = batches(rows, "mlm", batch_size=size, share=Share(0, ranks))
    shared = [batches(rows, "mlm", batch_size=size, share=Share(r, ranks)) for r in range(ranks)]
    parts = zip(*(made.epoch(1) for made in shared), strict=True)
    for step, (whole, part) in enumerate(zip(alone.epoch(1, whole=True), parts, strict=True)):
        assert torch.cat([targets for _, targets in part]).tolist() == whole[1].tolist()
        ids = [row[row != PAD].tolist() for inputs, _ in part for row in inputs["input_ids"]]
        assert ids == [row[row != PAD].tolist() for row in whole[0]["input_ids"]]
        for made, (_, targets) in zip(shared, part, strict=True):
            wanted = len(targets) * ranks / len(whole[1])
            assert made.weight(1, range(step, step + 1)) == pytest.approx(wanted)


def test_the_weight_of_rows_without_masks_is_their_number() -> None:
    made = [batches(split([5, 50, 9, 7, 30]), batch_size=5, share=Share(r, 2)) for r in range(2)]
    assert [share.weight(0, range(1)) for share in made] == [0.8, 1.2]


def test_nothing_to_make_batches_of_is_refused() -> None:
    with pytest.raises(DataError, match="batch_size: 4 and drop_last leave none of 3"):
        batches(split([5, 4, 6]), drop_last=True)
    with pytest.raises(DataError, match="2 examples are not one for each of 4"):
        batches(split([5, 4]), share=Share(0, 4))
