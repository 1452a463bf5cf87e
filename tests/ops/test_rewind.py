"""theta <- m ? source : +0: bit patterns move unchanged, whatever they mean."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impcore import ops

from . import tensors


@st.composite
def rewinds(draw):
    dtype = draw(st.sampled_from(tensors.DTYPES))
    sizes = draw(st.lists(st.sampled_from([0, 1, 15, 31, 32, 33, 64, 100]), max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    wide = np.int32 if dtype == torch.float32 else np.int16
    top = np.iinfo(wide).max
    raw = [[rng.integers(-top - 1, top + 1, n).astype(wide) for n in sizes] for _ in range(2)]
    masks = [rng.random(n) < draw(st.sampled_from([0.0, 0.5, 1.0])) for n in sizes]
    return dtype, *raw, masks, draw(st.booleans())


def bits(tensor):
    return tensors.storage(tensor)


@given(rewinds())
def test_any_bits_are_selected_and_never_computed_with(case):
    """Random bit patterns: NaN payloads, infinities, -0 and subnormals among them."""
    dtype, raw, raw_source, masks, own = case
    weights = [torch.from_numpy(r.copy()).view(dtype) for r in raw]
    source = None if own else [torch.from_numpy(r.copy()).view(dtype) for r in raw_source]
    plan = ops.Plan.make([r.size for r in raw])
    arena = tensors.pack(masks)
    kept = arena.clone()
    ops.rewind(plan, weights, arena, source)
    for weight, mask, values in zip(weights, masks, raw if own else raw_source, strict=True):
        want = np.where(mask, values, 0).astype(values.dtype)
        assert np.array_equal(bits(weight).view(values.dtype), want)
    assert torch.equal(arena, kept)
    if source is not None:
        assert all(
            np.array_equal(bits(s).view(r.dtype), r)
            for s, r in zip(source, raw_source, strict=True)
        )


@pytest.mark.parametrize("threads", [1, 2, 3], indirect=True)
def test_neighbours_in_memory_stay(threads, backend):
    """A view in the middle of a buffer, over a chunk boundary."""
    buffer = torch.full((70_000,), 3.0)
    view = buffer[5:69_990]
    plan = ops.Plan.make([view.numel()])
    ops.rewind(plan, [view], torch.zeros(plan.total_words, dtype=torch.int32))
    assert not view.any()
    assert (buffer[:5] == 3).all()
    assert (buffer[69_990:] == 3).all()


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (7, 5)])
def test_layouts(shape, backend):
    weight = torch.randn(shape)
    weight = weight.to(memory_format=torch.channels_last) if len(shape) == 4 else weight.t()
    source = torch.empty_like(weight).copy_(torch.randn(weight.shape))
    mask = torch.rand(weight.shape) < 0.5
    in_storage = torch.empty_like(weight, dtype=torch.bool).copy_(mask)
    arena = tensors.pack([in_storage.as_strided((mask.numel(),), (1,)).numpy()])
    ops.rewind(ops.Plan.make([weight.numel()]), [weight], arena, [source])
    assert torch.equal(weight, torch.where(mask, source, torch.zeros(())))


def rejected_sources():
    weight = torch.randn(6, 4)
    return [
        (torch.randn(6, 4).half(), TypeError, r"source\[0\] is torch.float16, the weight"),
        (torch.randn(4, 6).t(), ValueError, r"source\[0\] .* strides \(1, 6\)"),
        (torch.randn(5, 4), ValueError, r"source\[0\] has 20 elements, the plan says 24"),
        (weight.expand(2, 6, 4)[:, :3], ValueError, "not a dense, non-overlapping layout"),
        (torch.ones(6, 4, dtype=torch.int32), TypeError, "dtype torch.int32"),
    ]


def commit(plan, weights, arena, source):
    ops.commit(plan, weights, arena, arena.clone(), torch.zeros(1).long(), source)


@pytest.mark.parametrize(("source", "error", "message"), rejected_sources())
@pytest.mark.parametrize("op", [ops.rewind, commit])
def test_a_source_that_does_not_fit_changes_nothing(op, source, error, message):
    weight = torch.randn(6, 4)
    before, plan = weight.clone(), ops.Plan.make([24])
    with pytest.raises(error, match=message):
        op(plan, [weight], torch.zeros(1, dtype=torch.int32), [source])
    assert torch.equal(weight, before)
