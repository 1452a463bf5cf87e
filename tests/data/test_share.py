from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impcore.data.order import batch_starts
from impcore.data.share import WHOLE, Share


@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 12))
def test_shares_partition_every_batch(count: int, ranks: int, each: int) -> None:
    size = ranks * each
    shares = [Share(rank, ranks) for rank in range(ranks)]
    starts = batch_starts(count, size, share=shares[0])
    for step, (start, stop) in enumerate(pairwise(starts)):
        parts = [share.parts(starts, range(step, step + 1))[0] for share in shares]
        lengths = [part.stop - part.start for part in parts]
        assert [i for part in parts for i in range(part.start, part.stop)] == [*range(start, stop)]
        assert max(lengths) - min(lengths) <= 1
        # A batch that is not the whole split has two examples for each, or as many as any batch.
        assert min(lengths) >= min(2, each) or len(starts) == 2
        weights = [share.weight(starts, range(step, step + 1)) for share in shares]
        assert sum(weights) == pytest.approx(ranks)
        assert all(weight == 1 for weight in weights) == (len(set(lengths)) == 1)
    turns = [begin for share in shares for begin in share.turns(count, size)]
    assert sorted(turns) == [*range(0, count, size)]


@pytest.mark.parametrize("steps", [range(0, 1), range(1, 3), range(3)])
def test_the_mean_over_shares_is_the_mean_over_the_batches(steps: range) -> None:
    starts = [0, 4, 8, 19]
    values = torch.arange(19, dtype=torch.float64) ** 2
    shares = [Share(rank, 3) for rank in range(3)]
    means = [
        torch.cat([values[part] for part in share.parts(starts, steps)]).mean()
        * share.weight(starts, steps)
        for share in shares
    ]
    whole = values[starts[steps.start] : starts[steps.stop]].mean()
    assert sum(means).item() / 3 == pytest.approx(whole.item())


@pytest.mark.parametrize("steps", [range(0, 1), range(1, 3), range(3)])
def test_the_mean_over_shares_is_that_over_all_targets(steps: range) -> None:
    """Where examples have different numbers of them, as in masked language modelling."""
    starts, targets = [0, 4, 8, 19], np.arange(19) % 4 + 1
    values = [torch.arange(n, dtype=torch.float64) ** 2 + 7 for n in targets.tolist()]
    shares = [Share(rank, 3) for rank in range(3)]
    means = [
        torch.cat([each for part in share.parts(starts, steps) for each in values[part]]).mean()
        * share.weight(starts, steps, targets)
        for share in shares
    ]
    whole = torch.cat(values[starts[steps.start] : starts[steps.stop]]).mean()
    assert sum(means).item() / 3 == pytest.approx(whole.item())
    assert WHOLE.weight(starts, steps, targets) == 1
