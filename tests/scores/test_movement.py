from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from library_cases import PRUNABLE, backward, net
from torch import nn

import impcore
from impcore.scores import Movement

from .cases import tiny


def test_by_hand() -> None:
    # L = (w . x)^2 / 2 with x = [1, 1] and lr 0.1. At w = [2, -1]: y = 1, -w g = [-2, 1], then
    # w = [1.9, -1.1], y = 0.8, -w g = [-1.52, 0.88].
    layer = tiny([2.0, -1.0])
    masks = impcore.Masks(layer)
    movement = Movement(masks)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    movement.watch(optimizer)
    for _ in range(2):
        optimizer.zero_grad()
        (layer(torch.ones(1, 2)) ** 2 / 2).sum().backward()
        optimizer.step()
    torch.testing.assert_close(movement["weight"], torch.tensor([[-3.52, 1.88]]))
    impcore.prune_global(layer, count=1, score=movement)  # the larger weight, which shrinks
    assert masks["weight"].tolist() == [[False, True]]


OPTIMIZERS: dict[str, Callable[[nn.Module], torch.optim.Optimizer]] = {
    "stock": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    "masked": lambda model: impcore.MaskedSGD(model.parameters(), lr=0.1, momentum=0.9),
    "adamw": lambda model: impcore.MaskedAdamW(model.parameters(), lr=0.01),
}


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_it_sums_over_the_steps_of_any_optimiser(make: str) -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    optimizer = OPTIMIZERS[make](model)
    movement = Movement(masks)
    handle = movement.watch(optimizer)
    expected = {name: torch.zeros_like(model.get_parameter(name)) for name in PRUNABLE}
    for seed in range(3):
        optimizer.zero_grad()
        backward(model, seed)
        for name, total in expected.items():
            weight = model.get_parameter(name)
            total -= weight.detach() * weight.grad
        optimizer.step()
    assert list(movement) == PRUNABLE
    assert len(movement) == 3
    for name, total in expected.items():
        assert torch.equal(movement[name], total)
        assert not movement[name][~masks[name]].any()
    handle.remove()
    backward(model)
    optimizer.step()
    assert all(torch.equal(movement[name], total) for name, total in expected.items())
    movement.reset()
    assert not any(bool(score.any()) for score in movement.values())


@pytest.mark.parametrize("make", ["stock", "masked"])
def test_scaled_gradients_count_unscaled_and_skipped_steps_not_at_all(make: str) -> None:
    models = [net(), net()]
    movements = []
    for model, scale in zip(models, (1.0, 1024.0), strict=True):
        movement = Movement(impcore.prune_global(model, 0.3))
        optimizer = OPTIMIZERS[make](model)
        movement.watch(optimizer)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=100)
        for step in range(4):
            optimizer.zero_grad()
            x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(step))
            scaler.scale(model(x).square().sum()).backward()
            if step == 2:
                model.fc.weight.grad[0, 0] = torch.inf
            scaler.step(optimizer)
            scaler.update(new_scale=scale)
        movements.append(movement)
    for name in PRUNABLE:
        assert torch.isfinite(movements[0][name]).all()
        assert movements[0][name].any()
        torch.testing.assert_close(movements[0][name], movements[1][name])


def test_its_state_round_trips_and_a_wrong_one_changes_nothing() -> None:
    model = net()
    movement = Movement(impcore.Masks(model))
    backward(model)
    movement.update()
    state = {name: score.clone() for name, score in movement.state_dict().items()}
    movement.update()
    for broken in (
        {},
        {**state, "fc.weight": state["fc.weight"].double()},
        {**state, "fc.weight": state["fc.weight"].t()},
    ):
        with pytest.raises(ValueError, match=r"(conv1|fc)\.weight must be torch\.float32"):
            movement.load_state_dict(broken)
    assert torch.equal(movement["conv1.weight"], 2 * state["conv1.weight"])
    movement.load_state_dict(state)
    assert all(torch.equal(movement[name], score) for name, score in state.items())


def test_half_weights_and_missing_gradients() -> None:
    model = net().bfloat16()
    movement = Movement(impcore.Masks(model))
    movement.update()
    backward(model)
    movement.update()
    assert movement["fc.weight"].dtype == torch.float32
    weight = model.fc.weight
    assert torch.equal(movement["fc.weight"], -weight.detach().float() * weight.grad.float())
    with pytest.raises(KeyError, match=r"fc\.bias"):
        movement["fc.bias"]
    impcore.prune_global(model, 0.2, score=movement)


def test_a_movement_equals_itself_alone() -> None:
    masks = impcore.Masks(net())
    one, other = Movement(masks), Movement(masks)
    assert one != other
    assert [one, other].index(other) == 1
    assert len({one, other, one}) == 2


def test_scores_made_in_inference_mode_follow_a_training_outside_it() -> None:
    model = nn.Linear(3, 2)
    masks = impcore.Masks(model)
    with torch.inference_mode():
        movement = Movement(masks)
    model.weight.grad = torch.ones_like(model.weight)
    movement.update()
    assert torch.equal(movement["weight"], -model.weight.detach())
