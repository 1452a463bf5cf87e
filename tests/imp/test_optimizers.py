from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import nn

import impcore
from impcore.config import Length, Train
from impcore.imp import optimizers, tree

OPTIONS: list[dict[str, Any]] = [
    {"momentum": 0.0},
    {"momentum": 0.9},
    {"optimizer": "adamw", "betas": (0.8, 0.9)},
]


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(4, 2, 6, 6, generator=generator)).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_saved_state_goes_on_to_the_bit(channels_last: bool, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))
    if channels_last:
        model.to(memory_format=torch.channels_last)
    masks = impcore.prune_global(model, rate=0.3)
    train = Train(length=Length("1it"), weight_decay=0.01, lr=0.5, **options)
    optimizer = optimizers.fresh(model, masks, train)
    for seed in range(3):
        step(model, optimizer, seed)
    split, tensors = tree.split(optimizer.state_dict(), "optimizer")
    saved = {name: tensor.cpu().contiguous().clone() for name, tensor in tensors.items()}
    other = copy.deepcopy(model)
    for seed in range(3, 6):
        step(model, optimizer, seed)
    other_masks = impcore.masks_of(other)
    assert other_masks is not None
    resumed = optimizers.fresh(other, other_masks, train)
    assert not resumed.state
    optimizers.load_state(resumed, tree.join(json.loads(json.dumps(split)), saved))
    for seed in range(3, 6):
        step(other, resumed, seed)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert int((model[0].weight == 0).sum()) >= int((~masks["0.weight"]).sum()) > 0


def test_the_recipes_values_reach_the_optimiser() -> None:
    model = nn.Linear(2, 2)
    masks = impcore.Masks(model)
    train = Train(length=Length("1it"), lr=0.3, momentum=0.7, weight_decay=0.02, nesterov=True)
    (group,) = optimizers.fresh(model, masks, train).param_groups
    wanted = {"lr": 0.3, "momentum": 0.7, "weight_decay": 0.02, "nesterov": True, "dampening": 0}
    assert {key: group[key] for key in wanted} == wanted
    assert len(group["params"]) == 2
    train = Train(length=Length("1it"), optimizer="adamw", betas=(0.5, 0.6), eps=0.1)
    made = optimizers.fresh(model, masks, train)
    assert isinstance(made, impcore.MaskedAdamW)
    wanted = {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.1, "weight_decay": 1e-4, "amsgrad": False}
    assert {key: made.param_groups[0][key] for key in wanted} == wanted
