"""A masked optimiser's step is hooked as torch hooks its own, whoever listens."""

import pytest
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.profiler import profile

from impcore import Masks

from .cases import both_kinds, bytes_of, net, set_gradients


def made(cls, model, calls):
    """An optimiser with a hook of its own and a global one, before and after; their handles."""

    def told(name):
        return lambda optimizer, args, kwargs: calls.append((name, args[1:], kwargs))

    optimizer = cls(model.parameters(), lr=0.1)
    optimizer.register_step_post_hook(told("after"))
    return optimizer, [register_optimizer_step_post_hook(told("after all"))], told


@pytest.mark.parametrize("before", [False, True])
@both_kinds
def test_hooks_are_called_as_torch_calls_them(kind, before):
    """Also without hooks before the step, when torch's own wrapper is not gone through."""
    calls = {}
    for cls in (kind.theirs, kind.ours):
        model, calls[cls] = net(), []
        optimizer, handles, told = made(cls, model, calls[cls])
        if before:
            optimizer.register_step_pre_hook(told("before"))
            handles.append(register_optimizer_step_pre_hook(told("before all")))
        set_gradients([model], 0)
        closure = lambda: None  # noqa: E731
        optimizer.step()
        optimizer.step(closure)
        optimizer.step(closure=closure)
        for handle in handles:
            handle.remove()
        calls[cls] = [(name, len(args), list(kwargs)) for name, args, kwargs in calls[cls]]
    assert calls[kind.ours] == calls[kind.theirs]
    assert len(calls[kind.ours]) == (12 if before else 6)


@both_kinds
def test_a_hook_before_the_step_may_change_its_arguments(kind):
    model, seen = net(), []
    optimizer = kind.ours(model.parameters(), masks=Masks(model))
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: seen.append(1)), {}))
    optimizer.step()
    assert seen == [1]


@both_kinds
def test_a_profiler_sees_the_step(kind):
    model = net()
    optimizer = kind.ours(model.parameters())
    set_gradients([model], 0)
    with profile() as seen:
        optimizer.step()
    name = f"Optimizer.step#{kind.ours.__name__}.step"
    assert [event.key for event in seen.key_averages()].count(name) == 1
    before = bytes_of(model)
    optimizer.step()
    assert bytes_of(model) != before
