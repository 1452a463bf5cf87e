from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import impcore
from impcore.errors import InvariantError
from impcore.imp import invariants, rewinding


class Pruned:
    """A model that has just been pruned and rewound, rightly."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Linear(5, 2))
        self.point = rewinding.capture(self.model)
        self.masks = impcore.prune_global(self.model, count=9)
        self.before: Tensor = self.masks.words.clone()
        impcore.prune_global(self.model, count=10)
        rewinding.rewind_model(self.model, self.masks, self.point)
        self.remaining = 18

    def check(self) -> None:
        invariants.check_prune(
            self.model,
            self.masks,
            before=self.before,
            remaining=self.remaining,
            point=self.point,
        )


def test_control_what_is_right_passes() -> None:
    Pruned().check()


def _wrong_count(pruned: Pruned) -> None:
    pruned.remaining += 1


def _revived(pruned: Pruned) -> None:
    """One weight back, another gone: the count is right, the masks are not nested."""
    first = pruned.masks["0.weight"].flatten()
    words = pruned.before[pruned.masks.plan.spans[0]].tolist()
    earlier = torch.tensor([word >> i & 1 for word in words for i in range(32)])
    gone = int((earlier[:27] == 0).nonzero()[0])
    first[int(first.nonzero()[0])] = False
    first[gone] = True
    pruned.masks["0.weight"] = first.reshape(3, 1, 3, 3)
    rewinding.rewind_model(pruned.model, pruned.masks, pruned.point)


def _uncounted(pruned: Pruned) -> None:
    """A bit gone behind the back of what counts them."""
    words, span = pruned.masks.words, pruned.masks.plan.spans[1]
    words[span] &= words[span] - 1  # the first weight alive
    weight = pruned.model[2].weight.detach()
    weight[~pruned.masks["2.weight"]] = 0


def _survivor_off_by_a_bit(pruned: Pruned) -> None:
    weight = pruned.model[2].weight.detach()
    alive = pruned.masks["2.weight"].nonzero()[0].tolist()
    weight.view(torch.int32)[tuple(alive)] ^= 1


def _pruned_not_zero(pruned: Pruned) -> None:
    dead = (~pruned.masks["0.weight"]).nonzero()[0].tolist()
    pruned.model[0].weight.detach()[tuple(dead)] = 1e-45


def _pruned_minus_zero(pruned: Pruned) -> None:
    dead = (~pruned.masks["0.weight"]).nonzero()[0].tolist()
    pruned.model[0].weight.detach()[tuple(dead)] = -0.0


def _bias(pruned: Pruned) -> None:
    pruned.model[2].bias.detach().add_(1)


def _buffer(pruned: Pruned) -> None:
    pruned.model[1].running_mean.add_(1)


def _counter(pruned: Pruned) -> None:
    pruned.model[1].num_batches_tracked.add_(1)


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        (_wrong_count, "18 weights are alive instead of 19"),
        (_revived, r"0\.weight has weights alive that an earlier prune"),
        (_uncounted, "the masks hold 17 weights instead of 18"),
        (_survivor_off_by_a_bit, r"2\.weight is not its rewind point"),
        (_pruned_not_zero, r"0\.weight is not its rewind point"),
        (_pruned_minus_zero, r"0\.weight is not its rewind point"),
        (_bias, r"2\.bias is not its rewind point"),
        (_buffer, r"1\.running_mean is not its rewind point"),
        (_counter, r"1\.num_batches_tracked is not its rewind point"),
    ],
)
def test_every_fault_is_found(fault: Callable[[Pruned], None], named: str) -> None:
    pruned = Pruned()
    fault(pruned)
    with pytest.raises(InvariantError, match=named):
        pruned.check()


def test_a_tied_weight_counts_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    point = copy.deepcopy(rewinding.capture(model))
    masks = impcore.Masks(model)
    before = masks.words.clone()
    impcore.prune_global(model, count=5)
    rewinding.rewind_model(model, masks, point)
    invariants.check_prune(model, masks, before=before, remaining=11, point=point)


def test_nothing_is_tied_to_an_empty_weight() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(0, 3))
    model.register_buffer("nothing", torch.zeros(0))
    point = rewinding.capture(model)
    masks = impcore.Masks(model)
    before = masks.words.clone()
    impcore.prune_global(model, count=5)
    rewinding.rewind_model(model, masks, point)
    invariants.check_prune(model, masks, before=before, remaining=11, point=point)


def test_an_optimiser_must_be_fresh_and_complete() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    invariants.check_fresh(optimizer, model)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    with pytest.raises(InvariantError, match="SGD has state from before the prune"):
        invariants.check_fresh(optimizer, model)
    with pytest.raises(InvariantError, match="SGD holds 1 parameters, the model 2"):
        invariants.check_fresh(torch.optim.SGD([model.weight], lr=0.1), model)


def test_an_optimiser_holds_what_is_trained_once_in_any_order() -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD([model.bias, model.weight], lr=0.1)
    invariants.check_fresh(optimizer, model)
    model.bias.requires_grad_(False)
    invariants.check_fresh(torch.optim.SGD([model.weight], lr=0.1), model)
    with pytest.raises(InvariantError, match="SGD holds 2 parameters, the model 1"):
        invariants.check_fresh(optimizer, model)
    stranger = torch.optim.SGD([nn.Parameter(torch.ones(2, 3))], lr=0.1)
    with pytest.raises(InvariantError, match="SGD holds 1 parameters, the model 1"):
        invariants.check_fresh(stranger, model)
    stranger.param_groups = [{"params": [model.weight]}, {"params": [model.weight]}]
    with pytest.raises(InvariantError, match="SGD holds 2 parameters, the model 1"):
        invariants.check_fresh(stranger, model)
