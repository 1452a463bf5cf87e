from __future__ import annotations

import json

import pytest
import torch
from torch import nn

import impcore
from impcore.imp import tree
from impcore.imp.average import Average


def made() -> tuple[nn.Module, impcore.Masks]:
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))
    return model, impcore.prune_global(model, rate=0.4)


def train(model: nn.Module, seed: int) -> None:
    """Anything that changes weights under the mask, and the buffers."""
    generator = torch.Generator().manual_seed(seed)
    model(torch.randn(7, 6, generator=generator))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=generator)
    impcore.masks_of(model).apply()  # type: ignore[union-attr]


@pytest.mark.parametrize("decay", [0.15, 0.9999])
def test_equals_the_recursion_in_float64(decay: float) -> None:
    model, masks = made()
    average = Average(model, decay)
    wanted = {name: tensor.double() for name, tensor in model.state_dict().items()}
    for update in range(1, 30):
        train(model, update)
        average.update()
        weight = min(decay, (1 + update) / (10 + update))
        for name, tensor in model.state_dict().items():
            wanted[name] = weight * wanted[name] + (1 - weight) * tensor.double()
    for name, tensor in average.state.items():
        if tensor.is_floating_point():
            assert torch.allclose(tensor.double(), wanted[name], rtol=1e-5, atol=1e-6)
    assert average.state["1.num_batches_tracked"] == 29
    for name in masks:
        assert not average.state[name][~masks[name]].any()
        assert average.state[name][masks[name]].all()


def test_the_model_holds_it_within_the_block_alone() -> None:
    model, _ = made()
    average = Average(model, 0.9)
    train(model, 1)
    average.update()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    addresses = [tensor.data_ptr() for tensor in model.state_dict().values()]

    def stopped_within() -> None:
        with average.in_place():
            assert all(torch.equal(t, average.state[n]) for n, t in model.state_dict().items())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_within()
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert not torch.equal(before["0.weight"], average.state["0.weight"])
    assert addresses == [tensor.data_ptr() for tensor in model.state_dict().values()]


def test_a_saved_state_goes_on_to_the_bit() -> None:
    model, _ = made()
    average = Average(model, 0.9)
    for seed in range(4):
        train(model, seed)
        average.update()
    content, tensors = tree.split(average.state_dict(), "average")
    saved = {name: tensor.clone() for name, tensor in tensors.items()}
    resumed = Average(model, 0.9)
    resumed.load_state_dict(tree.join(json.loads(json.dumps(content)), saved))
    train(model, 9)
    average.update()
    resumed.update()
    assert all(torch.equal(t, resumed.state[n]) for n, t in average.state.items())
