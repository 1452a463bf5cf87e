"""One mask at a time: read or set for its own parameter alone, and for no other."""

from __future__ import annotations

import pytest
import torch
from library_cases import net, regrown
from torch import nn

import impcore
from impcore import ops
from impcore.binding import Binding
from impcore.errors import ModelChangedError

CHANGES = {
    "untied": lambda m: setattr(m[2], "weight", nn.Parameter(m[0].weight.detach().clone())),
    "half of it gone": lambda m: m.__delitem__(2),
    "tied": lambda m: setattr(m[0], "weight", m[1].weight),
    "of another shape": lambda m: m.__setitem__(0, nn.Linear(4, 3)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_mask_is_neither_read_nor_set_for_what_is_not_its_parameter(change: str) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    masks = impcore.Masks(model)
    CHANGES[change](model)
    before = [p.detach().clone() for p in model.parameters()]
    for name in ("0.weight", "2.weight"):
        with pytest.raises(ModelChangedError):
            _ = masks[name]
        with pytest.raises(ModelChangedError):
            masks[name] = torch.zeros(4, 4, dtype=torch.bool)
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize("both", [False, True])
def test_a_tied_mask_is_neither_read_nor_set_once_a_name_of_it_is_sparse(both: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    masks = impcore.Masks(model)
    for layer in model if both else model[1:]:
        layer.weight = nn.Parameter(layer.weight.detach().to_sparse())
    phrase = r"0\.weight has layout torch\.sparse_coo|1\.weight was tied to 0\.weight"
    with pytest.raises((NotImplementedError, ModelChangedError), match=phrase):
        _ = masks["0.weight"]
    with pytest.raises((NotImplementedError, ModelChangedError), match=phrase):
        masks["0.weight"] = torch.zeros(4, 4, dtype=torch.bool)


def test_a_refused_assignment_leaves_the_weights() -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3))
    masks = impcore.Masks(model)
    model[0].to(memory_format=torch.channels_last)
    model[1] = nn.Conv2d(2, 3, 3)
    with pytest.raises(ModelChangedError, match=r"1\.weight was"):
        masks["0.weight"] = torch.zeros(2, 2, 3, 3, dtype=torch.bool)
    assert model[0].weight.count_nonzero() == 36


def test_an_interrupted_assignment_leaves_no_weight_under_a_mask_of_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = net()
    masks = impcore.Masks(model)
    pruned = {name: torch.zeros_like(packed) for name, packed in masks.state_dict().items()}

    def assign() -> None:
        masks["fc.weight"] = torch.zeros(7, 5, dtype=torch.bool)

    def load() -> None:
        masks.load_state_dict(pruned)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    steps = [(assign, torch.Tensor, "masked_fill_"), (assign, ops.bits, "pack")]
    steps += [(load, ops, "rewind"), (load, torch.Tensor, "copy_")]
    for change, owner, name in steps:
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                change()
        assert regrown(masks) == 0


def test_going_through_many_masks_looks_at_each_parameter_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = nn.Sequential(*[nn.Linear(3, 3) for _ in range(40)])
    masks = impcore.prune_global(model, 0.5)
    monkeypatch.setattr(Binding, "parameters", None)  # all of them
    found = dict(masks.items())
    for name, mask in found.items():
        masks[name] = ~mask
    assert all(torch.equal(masks[name], ~mask) for name, mask in found.items())
