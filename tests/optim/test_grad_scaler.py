"""Masked optimisers under torch.amp.GradScaler: unscaled in the pass, skipped without a trace."""

import math

import pytest
import torch
from torch import nn

from .cases import ADAMW, SGD, both_kinds, bytes_of, check_close, net, pruned, set_gradients


def scaled_run(cls, model, overflows, options, unscale):
    """Ten steps, some of which overflow: the scales, and after which steps there was no state."""
    optimizer = cls(model.parameters(), **options)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=3)
    scaler.scale(torch.ones(()))  # the scaler makes its tensors when it is first used
    scales, empty = [], []
    for step in range(10):
        scale = scaler.get_scale()
        set_gradients([model], step)
        for p in model.parameters():
            p.grad.mul_(scale)
        if step in overflows:
            model[3].weight.grad[0, 0] = math.inf if step % 2 else math.nan
        before = bytes_of(model)
        if unscale:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        assert (bytes_of(model) == before) == (step in overflows)
        scaler.update()
        scales.append(scaler.get_scale())
        empty.append(not optimizer.state_dict()["state"])
    return scales, empty


@pytest.mark.parametrize("overflows", [(), (0,), (0, 1, 5), (4,)])
@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SGD, {"lr": 0.1}),
        (SGD, SGD.heavy),
        (SGD, {"lr": 0.1, "momentum": 0.9}),
        (ADAMW, {"lr": 0.1}),
        (ADAMW, ADAMW.heavy),
    ],
    ids=lambda v: ", ".join(v) if isinstance(v, dict) else repr(v),
)
def test_skipped_steps_are_as_with_torch(kind, options, overflows, unscale):
    """Also the state: SGD has none until a step is taken, and the first one is not dampened."""
    ours, theirs = net(), net()
    mine = scaled_run(kind.ours, ours, overflows, options, unscale)
    other = scaled_run(kind.theirs, theirs, overflows, {**options, **kind.scaling}, unscale)
    assert mine == other
    check_close(ours, theirs)


@both_kinds
def test_gradients_are_unscaled_inside_the_pass(kind):
    param = nn.Parameter(torch.zeros(3))
    optimizer = kind.ours([param], lr=1.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(torch.ones(()))
    param.grad = torch.full((3,), 16.0)
    scaler.step(optimizer)
    expected = -2.0 if kind is SGD else -1.0
    torch.testing.assert_close(param.detach(), torch.full((3,), expected))
    assert param.grad.tolist() == [16.0] * 3


@both_kinds
def test_the_device_decides_and_the_host_is_not_asked(kind, monkeypatch):
    """With a scaler, steps read nothing back outside of the kernel's call."""
    model = net()
    optimizer = kind.ours(model.parameters(), masks=pruned(model), **kind.heavy)
    set_gradients([model], 0)
    reads, kernel_reads = [], []
    monkeypatch.setattr(kind.unchecked, lambda *args: kernel_reads.append(args))
    for name in ("item", "__bool__", "__float__", "__int__", "tolist", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def read(self, *args, original=original, name=name, **kwargs):
            reads.append(name)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, read)
    optimizer.grad_scale, optimizer.found_inf = torch.full((), 2.0), torch.zeros(())
    optimizer.step()
    optimizer.step()
    assert reads == []
    assert len(kernel_reads) == 2
