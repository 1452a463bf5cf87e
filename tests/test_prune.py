"""prune_global against a stable sort and torch.nn.utils.prune, in every way that it is called."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.utils.prune as torch_prune
from hypothesis import given, settings
from hypothesis import strategies as st
from library_cases import (
    PRUNABLE,
    Net,
    backward,
    bits,
    fill,
    net,
    nets,
    regrown,
    same_bits,
    smallest,
    snapshot,
    stored,
)
from torch import nn

import impcore
from impcore import ops

RATES = st.lists(st.floats(0, 0.999), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(model=nets(), rates=RATES, sync=st.booleans())
def test_prunes_what_a_stable_sort_prunes(model: nn.Module, rates: list[float], sync: bool) -> None:
    masks = impcore.Masks(model)
    remaining = masks.total
    for rate in rates:
        before, weights = dict(masks), [p.detach().clone() for p in masks.parameters]
        expected = smallest(masks.parameters, before.values(), round(rate * remaining))
        assert impcore.prune_global(model, rate, sync=sync) is masks
        remaining -= round(rate * remaining)
        assert masks.remaining == remaining == sum(int(m.sum()) for m in masks.values())
        assert regrown(masks) == 0
        pruned, kept = [], []
        for name, p, old, want in zip(masks, masks.parameters, weights, expected, strict=True):
            now = masks[name]
            assert np.array_equal(stored(now, p), want)
            assert not (now & ~before[name]).any(), "nested"
            assert torch.equal(bits(p)[now.contiguous()], bits(old)[now.contiguous()])
            pruned += old[before[name] & ~now].abs().tolist()
            kept += old[now].abs().tolist()
        assert max(pruned, default=0) <= min(kept, default=math.inf)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), rates=st.lists(st.floats(0.01, 0.6), min_size=2, max_size=6))
def test_masks_and_counts_are_those_of_torch_prune(seed: int, rates: list[float]) -> None:
    ours, theirs = Net(9), Net(9)
    layers = [theirs.get_submodule(name.removesuffix(".weight")) for name in PRUNABLE]
    for layer in layers:
        torch_prune.identity(layer, "weight")
    for i, rate in enumerate(rates):
        fill(ours, seed + i, "normal")  # what training does, dead weights included
        for name, layer in zip(PRUNABLE, layers, strict=True):
            layer.weight_orig.data.copy_(ours.get_parameter(name).detach())
            layer.weight = layer.weight_orig * layer.weight_mask
        pairs = [(layer, "weight") for layer in layers]
        torch_prune.global_unstructured(pairs, torch_prune.L1Unstructured, amount=rate)
        masks = impcore.prune_global(ours, rate)
        for name, layer in zip(PRUNABLE, layers, strict=True):
            assert torch.equal(layer.weight_mask.bool(), masks[name])


@pytest.mark.parametrize(
    "arguments",
    [
        *({"rate": r} for r in (1.0, 1, -0.1, math.nan, math.inf, -math.inf, True, False, "0.2")),
        *({"rate": r} for r in (b"0.2", [0.2], 1j, 10**400, np.array([0.1, 0.2]), print)),
        *({"count": c} for c in (2.5, 2.0, True, False, -1, "3", math.nan, np.float64(2), [1])),
        {},
        {"rate": 0.2, "count": 3},
        {"rate": 0.0, "count": 0},
    ],
    ids=str,
)
def test_a_wrong_amount_is_refused_by_name(arguments: dict[str, object]) -> None:
    model = net()
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"rate|count") as error:
        impcore.prune_global(model, **arguments)
    for name, value in arguments.items():
        assert name in str(error.value)
        assert repr(value) in str(error.value)
    assert same_bits(model, before)
    assert impcore.masks_of(model) is None


def test_a_count_above_what_remains_is_refused_with_both_numbers() -> None:
    model = net()
    total = impcore.Masks(model).total
    for _ in range(2):
        remaining = impcore.masks_of(model).remaining
        with pytest.raises(ValueError, match=f"count={remaining + 7} .* {remaining}$"):
            impcore.prune_global(model, count=remaining + 7)
        with pytest.raises(ValueError, match="count"):
            impcore.prune_global(model, count=10**30)
        impcore.prune_global(model, count=total // 3)
    fresh = net()
    with pytest.raises(ValueError, match=str(total)):
        impcore.prune_global(fresh, count=total + 1)
    assert impcore.masks_of(fresh) is None


@pytest.mark.parametrize(
    "rate", [np.float64(0.25), np.float32(0.25), torch.tensor(0.25), Fraction(1, 4)], ids=repr
)
def test_numbers_of_other_libraries_are_rates(rate: object) -> None:
    masks = impcore.prune_global(net(), rate)
    assert masks.remaining == masks.total - round(0.25 * masks.total)


@pytest.mark.parametrize("count", [np.int32(11), np.uint8(11), torch.tensor(11)], ids=repr)
def test_numbers_of_other_libraries_are_counts(count: object) -> None:
    masks = impcore.prune_global(net(), count=count)
    assert masks.remaining == masks.total - 11


@pytest.mark.parametrize("amount", [{"rate": 0}, {"rate": 0.0}, {"count": 0}, {"rate": 1e-9}])
def test_nothing_to_prune_leaves_every_byte(amount: dict[str, float]) -> None:
    model = net()
    impcore.prune_global(model, 0.5)
    masks, before = impcore.masks_of(model), snapshot(model)
    words = masks.words.clone()
    impcore.prune_global(model, **amount)
    assert torch.equal(masks.words, words)
    assert same_bits(model, before)


def test_everything_can_go() -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    impcore.prune_global(model, count=masks.remaining)
    assert masks.remaining == 0
    assert masks.density == 0
    assert not masks.words.any()
    assert regrown(masks) == 0
    impcore.prune_global(model, 0.9)
    assert masks.remaining == 0
    with pytest.raises(ValueError, match="above the number of remaining weights, 0"):
        impcore.prune_global(model, count=1)


def test_patterns_must_stay_those_of_the_masks() -> None:
    model = net()
    masks = impcore.prune_global(model, 0.2, include=["conv*"], exclude=["conv2.*"])
    assert masks.names == ["conv1.weight"]
    assert impcore.prune_global(model, 0.2, include=("conv*",), exclude=["conv2.*"]) is masks
    assert impcore.prune_global(model, 0.2) is masks
    before = snapshot(model)
    with pytest.raises(ValueError, match=re.escape("include=['fc.*'] differs from")):
        impcore.prune_global(model, 0.2, include=["fc.*"])
    with pytest.raises(TypeError, match="exclude must be a list"):
        impcore.prune_global(model, 0.2, exclude="fc.*")
    assert same_bits(model, before)


def test_a_default_device_does_not_matter() -> None:
    models = [net(), net()]
    impcore.prune_global(models[0], 0.3)
    with torch.device("meta"):
        masks = impcore.prune_global(models[1], 0.3)
        masks.load_state_dict(masks.state_dict())
        assert masks.hash == impcore.masks_of(models[0]).hash
        assert masks.remaining == int(ops.bits.count(masks.words))


def test_inference_mode_leaves_masks_that_work_outside() -> None:
    model = net()
    with torch.inference_mode():
        masks = impcore.prune_global(model, 0.3)
    impcore.prune_global(model, 0.3)
    masks["fc.weight"] = torch.zeros(7, 5, dtype=torch.bool)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    backward(model)
    optimizer.step()
    assert regrown(masks) == 0


def test_autograd_notices_that_weights_were_pruned() -> None:
    layer = nn.Linear(3, 3)
    x = torch.randn(2, 3, requires_grad=True)
    loss = layer(x).square().sum()
    impcore.prune_global(layer, 0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_compiled_forward_and_loss_of_a_pruned_model() -> None:
    model = net().eval()
    impcore.prune_global(model, 0.5)
    x, target = torch.randn(2, 3, 5, 5), torch.tensor([1, 2])

    def loss(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(model(x), target)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), loss(x))
    impcore.prune_global(model, 0.5)
    torch.testing.assert_close(compiled(x), loss(x))


@pytest.mark.parametrize("wrap", ["compile", "data_parallel", "both"])
def test_wrappers_are_seen_through(wrap: str) -> None:
    model = net()
    wrapped: nn.Module = model
    if wrap != "compile":
        wrapped = nn.DataParallel(wrapped)
    if wrap != "data_parallel":
        wrapped = torch.compile(wrapped, backend="eager")
    masks = impcore.prune_global(wrapped, 0.5)
    assert masks.names == PRUNABLE
    assert impcore.masks_of(wrapped) is impcore.masks_of(model) is masks
    assert impcore.prune_global(model, 0.5) is masks
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for seed in range(2):
        backward(wrapped, seed)
        optimizer.step()
        assert regrown(masks) == 0


MEMORY = """
import torch, impcore
from torch import nn

torch.set_num_threads(2)

def status(field):
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(field))
    return int(line.split()[1]) * 1024

def reset_peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")

warm = nn.Linear(300, 300)
impcore.prune_global(warm, 0.2)
impcore.prune_global(warm, 0.2)
size = {size}
model = nn.Sequential(*(nn.Linear(size, size) for _ in range(5))).to(torch.{dtype})
weights = 4 * sum(p.numel() for p in model.parameters() if p.dim() > 1)
reset_peak()
before = status("VmRSS")
for _ in range(3):
    masks = impcore.prune_global(model, {rate})
print((status("VmHWM") - before) / weights)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self")
@pytest.mark.parametrize(("dtype", "rate"), [("float32", 0.2), ("float32", 0.9), ("bfloat16", 0.2)])
def test_peak_extra_memory_is_at_most_a_tenth_of_the_weights(dtype: str, rate: float) -> None:
    """Of float32 weights, masks included; 20 million of them."""
    code = MEMORY.format(size=2000, dtype=dtype, rate=rate)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert 0.03 < float(done.stdout) <= 0.10
