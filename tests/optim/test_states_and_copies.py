"""Masked optimisers' state dicts, through files and between ours and torch's, and their copies."""

import copy
import itertools
import sys
from collections import defaultdict
from contextlib import suppress
from operator import is_

import pytest
import torch

from impcore import masks_of

from .cases import (
    both_kinds,
    bytes_of,
    check_close,
    check_dead,
    net,
    pruned,
    set_gradients,
    through_a_file,
)


@pytest.mark.parametrize("sources", ["ours, ours", "ours, theirs", "theirs, ours"])
@both_kinds
def test_state_dicts_are_interchangeable(kind, sources):
    """Through a file; in every direction the run goes on as if nothing had happened."""
    classes = [getattr(kind, source) for source in sources.split(", ")]
    straight, resumed = net(), net()
    first = kind.theirs(straight.parameters(), **kind.heavy)
    second = classes[0](resumed.parameters(), **kind.heavy)
    for step in range(6):
        if step == 3:
            state = through_a_file(second.state_dict())
            second = classes[1](resumed.parameters(), lr=7.0)
            second.load_state_dict(state)
        set_gradients([straight, resumed], step)
        first.step()
        second.step()
    check_close(straight, resumed)
    ours, theirs = second.state_dict(), first.state_dict()
    assert set(ours["param_groups"][0]) == set(theirs["param_groups"][0])
    for i, values in theirs["state"].items():
        assert set(ours["state"][i]) == set(values)
        for key, value in values.items():
            torch.testing.assert_close(ours["state"][i][key], value, rtol=1e-5, atol=1e-6)


@both_kinds
def test_a_resumed_run_is_the_same_to_the_bit(kind):
    straight, resumed = net(), net()
    masks = [pruned(m) for m in (straight, resumed)]
    first = kind.ours(straight.parameters(), masks=masks[0], **kind.heavy)
    second = kind.ours(resumed.parameters(), masks=masks[1], **kind.heavy)
    for step in range(6):
        if step == 3:
            state = second.state_dict()
            second = kind.ours(resumed.parameters(), masks=masks[1], **kind.heavy)
            second.load_state_dict(state)
        set_gradients([straight, resumed], step)
        first.step()
        second.step()
    assert bytes_of(straight) == bytes_of(resumed)


@pytest.mark.parametrize("copied", [copy.deepcopy, through_a_file])
@both_kinds
def test_a_copied_model_and_optimiser_go_on_alone(kind, copied):
    model = net()
    optimizer = kind.ours(model.parameters(), masks=pruned(model), **kind.heavy)
    set_gradients([model], 0)
    optimizer.step()
    twin, twin_optimizer = copied((model, optimizer))
    assert twin_optimizer.masks is masks_of(twin) is not masks_of(model)
    before = bytes_of(model)
    set_gradients([twin], 1)
    twin_optimizer.step()
    assert bytes_of(model) == before
    check_dead(masks_of(twin), twin_optimizer)
    set_gradients([model], 1)
    optimizer.step()
    assert bytes_of(model) == bytes_of(twin)


@pytest.mark.parametrize("again", [lambda o: o, copy.deepcopy, through_a_file])
@both_kinds
def test_layers_that_outlive_their_model_stay_masked(kind, again):
    """As when a head is cut off, or an optimiser is copied without its model."""

    def backbone():
        model = net()
        masks = pruned(model)
        return torch.nn.Sequential(*list(model)[:-1]), masks

    layers, masks = backbone()
    optimizer = kind.ours(layers.parameters(), masks=masks, **kind.heavy)
    for seed in range(3):  # the first one makes the states
        optimizer = again(optimizer)
        params = optimizer.param_groups[0]["params"]
        for param in params:
            torch.manual_seed(seed)
            param.grad = torch.randn_like(param)
        before = [param.detach().clone() for param in params]
        optimizer.step()
        assert not any(map(torch.equal, before, params))
        check_dead(optimizer.masks, optimizer)
    optimizer.masks.release()
    optimizer.step()
    assert any(
        p[~optimizer.masks[n]].any()
        for n, p in zip(optimizer.masks.names, optimizer.masks.parameters, strict=True)
    )


@both_kinds
def test_an_interrupt_while_states_are_put_in_order_loses_none(kind):
    model = net()
    optimizer = kind.ours(model.parameters(), **kind.heavy)
    set_gradients([model], 0)
    optimizer.step()
    states = {p: dict(optimizer.state[p]) for p in reversed(optimizer.param_groups[0]["params"])}

    def interrupt(frame, event, argument):
        nonlocal left
        if frame.f_code.co_name != "_sort_states":
            return None
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if left < 0:
            raise KeyboardInterrupt
        return interrupt

    for after in itertools.count():
        left, before = after, sys.gettrace()
        optimizer.state = defaultdict(dict, states)
        sys.settrace(interrupt)
        with suppress(KeyboardInterrupt):
            optimizer.step()
        sys.settrace(before)
        assert optimizer.state == states
        if left > 0:
            break
    assert after > 9
    assert all(map(is_, optimizer.state, model.parameters()))


@pytest.mark.parametrize("fits", range(5))
@both_kinds
def test_a_first_step_that_ran_out_of_memory_can_be_taken_again(kind, fits, monkeypatch):
    """Nothing was stepped, and states of which some were made are made anew."""
    straight, again = net(), net()
    first, second = (kind.ours(m.parameters(), **kind.heavy) for m in (straight, again))
    set_gradients([straight, again], 0)
    before, made = bytes_of(again), []

    def zeros_like(tensor):
        made.append(torch.empty_like(tensor).zero_())
        if len(made) > fits:
            raise torch.OutOfMemoryError
        return made[-1]

    with monkeypatch.context() as patch:
        patch.setattr(torch, "zeros_like", zeros_like)
        with pytest.raises(torch.OutOfMemoryError):
            second.step()
    assert bytes_of(again) == before
    for optimizer in (first, second):
        optimizer.step()
    assert bytes_of(straight) == bytes_of(again)
    states = [
        [value for state in optimizer.state.values() for value in state.values()]
        for optimizer in (first, second)
    ]
    assert all(map(torch.equal, *states))
