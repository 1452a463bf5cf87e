"""torch.compile takes a masked optimiser's step whole, and follows what changes."""

import gc

import numpy as np
import pytest
import torch

from impcore import Masks

from .cases import both_kinds, bytes_of, pruned, set_gradients, triple


def step_of(optimizer, backend="aot_eager"):
    return torch.compile(lambda: optimizer.step(), fullgraph=True, backend=backend)


@pytest.fixture(autouse=True)
def fresh():
    gc.collect()  # Masks that go while a step is traced would take the hook along
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()


def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("heavy", [False, True])
@both_kinds
def test_a_compiled_step_is_one_graph_and_the_same(kind, heavy, masked):
    options = kind.heavy if heavy else {"lr": 0.1}
    ours, eager, _ = triple()
    optimizers = [
        kind.ours(m.parameters(), masks=pruned(m) if masked else None, **options)
        for m in (ours, eager)
    ]
    step = step_of(optimizers[0])
    for i in range(4):
        set_gradients([ours, eager], i)
        step()
        optimizers[1].step()
    assert bytes_of(ours) == bytes_of(eager)
    assert graphs() == 1


@both_kinds
def test_a_compiled_step_takes_numbers_of_numpy(kind):
    """A schedule may compute with them."""
    ours, eager, _ = triple()
    optimizers = [kind.ours(m.parameters(), masks=pruned(m), **kind.heavy) for m in (ours, eager)]
    step = step_of(optimizers[0])
    for i, rate in enumerate((np.float64(0.05), np.float32(0.02))):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = rate
        set_gradients([ours, eager], i)
        step()
        optimizers[1].step()
    assert bytes_of(ours) == bytes_of(eager)


@both_kinds
def test_a_compiled_step_follows_a_tensor_lr_and_a_prune_without_a_new_graph(kind):
    ours, eager, _ = triple()
    rates = [torch.tensor(0.1), torch.tensor(0.1)]
    masks = [Masks(m) for m in (ours, eager)]
    optimizers = [
        kind.ours(m.parameters(), masks=k, **{**kind.heavy, "lr": rate})
        for m, rate, k in zip((ours, eager), rates, masks, strict=True)
    ]
    step = step_of(optimizers[0])
    for i in range(4):
        set_gradients([ours, eager], i)
        step()
        optimizers[1].step()
        for rate, mask in zip(rates, masks, strict=True):
            rate.mul_(0.5)
            mask["3.weight"] = torch.arange(60).view(5, 12) % (5 - i) != 0
    assert bytes_of(ours) == bytes_of(eager)
    assert graphs() == 1


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@both_kinds
def test_a_compiled_step_follows_options_that_change(kind, backend):
    """As a scheduler changes them; a number that changes may cost a few new graphs."""
    ours, eager, _ = triple()
    optimizers = [kind.ours(m.parameters(), masks=pruned(m), **kind.heavy) for m in (ours, eager)]
    step = step_of(optimizers[0], backend)
    for i in range(3):
        set_gradients([ours, eager], i)
        step()
        optimizers[1].step()
        for optimizer in optimizers:
            group = optimizer.param_groups[0]
            group["lr"] *= 0.7
            if "betas" in group:
                group["betas"] = (group["betas"][0] * 0.9, group["betas"][1])
            else:
                group["momentum"] *= 0.9
    assert bytes_of(ours) == bytes_of(eager)
