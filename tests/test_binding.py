"""Parameters are the model's own at each use, or there is an error that says what changed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from library_cases import PRUNABLE, net
from torch import nn

from impcore import _C, scope
from impcore.binding import Binding
from impcore.errors import LayoutError, ModelChangedError
from impcore.scope import candidates, find_scope


def bound(model: nn.Module) -> Binding:
    return Binding(model, find_scope(model, None, None))


def test_parameters_follow_every_replacement() -> None:
    model = net()
    binding = bound(model)
    for replace in (
        lambda: setattr(model.fc, "weight", nn.Parameter(torch.ones(7, 5))),
        lambda: setattr(model, "conv2", nn.Conv2d(6, 5, 1, bias=False)),
        lambda: model.load_state_dict(net(1).state_dict(), assign=True),
    ):
        replace()
        assert [id(p) for p in binding.parameters] == [id(model.get_parameter(n)) for n in PRUNABLE]
        assert binding.index() == {id(model.get_parameter(n)): i for i, n in enumerate(PRUNABLE)}


def test_it_holds_until_a_parameter_is_replaced_and_again_from_the_next_use() -> None:
    model = net()
    binding = bound(model)
    every = len(binding.found)
    assert binding.holds(0)
    model.fc = nn.Linear(5, 7)
    assert not binding.holds(every - 1)
    assert binding.holds(every)  # all are in use elsewhere, whatever the model has
    assert [id(p) for p in binding.parameters] == [id(p) for p in binding.found[: len(PRUNABLE)]]
    assert binding.holds(0)


def test_tied_parameters_that_part_are_never_taken_for_granted() -> None:
    model = net()
    model.head = nn.Linear(5, 7)
    model.head.weight = nn.Parameter(model.fc.weight.data)
    binding = bound(model)
    assert binding.aliases
    every = len(binding.found)
    assert binding.holds(every)
    model.head.weight.data = model.head.weight.data.clone()
    assert not binding.holds(every)
    with pytest.raises(ModelChangedError, match="was tied to"):
        _ = binding.parameters


@pytest.mark.parametrize(
    ("tied", "change", "phrase"),
    [
        (
            True,
            lambda m: setattr(m.head, "weight", nn.Parameter(torch.ones(7, 5))),
            r"head\.weight was tied to fc\.weight, is tied to None",
        ),
        (True, lambda m: delattr(m, "head"), r"head\.weight is gone"),
        (
            False,
            lambda m: setattr(m.head, "weight", m.fc.weight),
            r"head\.weight was tied to None, is tied to fc\.weight",
        ),
    ],
)
def test_further_names_that_part_or_go_or_come_are_listed(
    tied: bool, change: Callable[[nn.Module], object], phrase: str
) -> None:
    model = net()
    model.head = nn.Linear(5, 7)
    if tied:
        model.head.weight = model.fc.weight
    binding = bound(model)
    change(model)
    for use in (lambda: binding.parameters, lambda: binding.check_model(None, None)):
        with pytest.raises(ModelChangedError, match=phrase):
            use()


@pytest.mark.parametrize(
    ("change", "phrases"),
    [
        (lambda m: delattr(m, "conv1"), ["conv1.weight is gone"]),
        (lambda m: delattr(m.fc, "weight"), ["fc.weight is gone"]),
        (lambda m: m.fc.register_parameter("weight", None), ["fc.weight is gone"]),
        (lambda m: setattr(m, "fc", None), ["fc.weight is gone"]),
        (lambda m: setattr(m, "fc", nn.Linear(4, 7)), ["fc.weight was (7, 5), is (7, 4)"]),
        (
            lambda m: (delattr(m, "conv1"), setattr(m, "fc", nn.Linear(4, 7))),
            ["conv1.weight is gone; fc.weight was (7, 5), is (7, 4)"],
        ),
    ],
)
def test_what_is_lost_is_listed_at_each_use(change: object, phrases: list[str]) -> None:
    model = net()
    binding = bound(model)
    binding.check_model(None, None)
    change(model)
    for use in (lambda: binding.parameters, binding.index, lambda: binding.check_model(None, None)):
        with pytest.raises(ModelChangedError) as error:
            use()
        assert all(phrase in str(error.value) for phrase in phrases)
        assert "impcore.Masks(model)" in str(error.value)
    with pytest.raises(ModelChangedError) as one:
        _ = [binding.maskable(i) for i in range(len(PRUNABLE))]
    assert all(phrase in str(one.value) for phrase in phrases)


@pytest.mark.parametrize(
    ("order", "phrase"),
    [
        ((0, 3, 1, 2), r"2\.weight holds what 1\.weight held"),
        ((1, 0, 2), r"0\.weight holds what 1\.weight held; 1\.weight holds what 0\.weight held"),
    ],
)
def test_layers_that_have_changed_places_do_not_change_masks(
    order: tuple[int, ...], phrase: str
) -> None:
    layers = [nn.Linear(4, 4) for _ in range(4)]
    model = nn.ModuleList(layers[:3])
    binding = bound(model)
    for i, number in enumerate(order):
        model._modules[str(i)] = layers[number]
    for use in (lambda: binding.parameters, binding.index, lambda: binding.check_model(None, None)):
        with pytest.raises(ModelChangedError, match=phrase):
            use()


def test_a_tie_is_not_missed_on_the_meta_device_unless_half_of_it_is_there() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    binding = bound(model)
    whole = model[1].weight
    model[1].to("meta")
    with pytest.raises(
        ModelChangedError, match=r"1\.weight was tied to 0\.weight, is tied to None"
    ):
        _ = binding.parameters
    model[0].to("meta")
    assert binding.parameters == [model[0].weight]
    model[0].weight = model[1].weight = whole
    assert binding.parameters[0] is whole


def test_only_a_prune_cares_about_new_layers() -> None:
    model = net()
    binding = bound(model)
    binding.check_model(None, None)
    model.extra = nn.Linear(2, 2)
    assert len(binding.parameters) == 3
    with pytest.raises(ModelChangedError, match=r"extra\.weight is new"):
        binding.check_model(None, None)
    binding.check_model(None, ("extra.*",))


def _tie_by_data(model: nn.Module) -> None:
    model.conv2.weight.data = model.conv1.weight.data.view(-1)[: model.conv2.weight.numel()].view(
        model.conv2.weight.shape
    )


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda m: m.double(), TypeError),
        (lambda m: m.fc.to("meta"), (NotImplementedError, ModelChangedError)),
        (lambda m: m.to("meta"), NotImplementedError),
        (lambda m: setattr(m.fc.weight, "data", m.fc.weight.data[:, :1].expand(7, 5)), LayoutError),
        (_tie_by_data, LayoutError),
        (lambda m: setattr(m, "again", m.fc), ModelChangedError),
    ],
)
def test_a_second_check_sees_what_has_changed_since_the_first(
    change: Callable[[nn.Module], object], error: type[Exception]
) -> None:
    model = net()
    binding = bound(model)
    for _ in range(2):
        binding.check_model(None, None)
    change(model)
    for _ in range(2):
        with pytest.raises(error):
            binding.check_model(None, None)


def test_freezing_or_thawing_does_not_change_what_is_masked() -> None:
    model = net()
    model.conv1.weight.requires_grad_(False)
    binding = bound(model)
    assert binding.names == PRUNABLE[1:]
    model.conv1.weight.requires_grad_(True)
    model.fc.weight.requires_grad_(False)
    binding.check_model(None, None)
    assert len(binding.parameters) == 2


def test_a_released_or_dead_model_leaves_the_last_parameters() -> None:
    model = net()
    binding, orphan = bound(model), bound(model)
    binding.release()
    old = model.fc.weight
    model.fc = nn.Linear(9, 9)
    assert binding.model is None
    assert binding.parameters[2] is old
    assert copy.deepcopy(binding).parameters[2].equal(old)
    del model
    assert orphan.model is None
    assert orphan.parameters[2] is old
    for left in (binding, orphan):
        assert left.holds(0)
        assert [left.one(i) for i in range(3)] == left.last
        assert left.check_model(None, None) is None
        assert left.maskable(2) is old
    old.data = old.data.double()
    for left in (binding, orphan):
        for use in (lambda b: b.check_model(None, None), lambda b: b.maskable(2)):
            with pytest.raises(TypeError, match=r"fc\.weight"):
                use(left)


UNCHANGED: dict[str, Callable[[nn.Module], object]] = {
    "nothing": lambda m: None,
    "values": lambda m: m.fc.weight.data.mul_(2),
    "gradients": lambda m: setattr(m.fc.weight, "grad", torch.ones(7, 5)),
    "buffers": lambda m: m.register_buffer("more", torch.ones(2)),
    "a module that is none": lambda m: m.add_module("none", None),
    "freezing": lambda m: m.fc.weight.requires_grad_(False),
}
CHANGED: dict[str, Callable[[nn.Module], object]] = {
    "another module": lambda m: setattr(m, "extra", nn.ReLU()),
    "another parameter": lambda m: m.register_parameter("extra", nn.Parameter(torch.ones(2))),
    "another name": lambda m: setattr(m, "fc2", m._modules.pop("fc")),
    "another class": lambda m: setattr(m.fc, "__class__", type("Line", (nn.Linear,), {})),
    "another object": lambda m: setattr(m.fc, "weight", nn.Parameter(m.fc.weight.data)),
    "another type": lambda m: m.fc._parameters.update(weight=m.fc.weight.data),
    "other memory": lambda m: setattr(m.fc.weight, "data", m.fc.weight.data.clone()),
    "another dtype": lambda m: m.half(),
    "another shape": lambda m: setattr(m.fc.weight, "data", m.fc.weight.data.view(5, 7)),
    "another layout": lambda m: m.to(memory_format=torch.channels_last),
    "another bias": lambda m: setattr(m.fc, "bias", nn.Parameter(torch.ones(7))),
    "a bias that is gone": lambda m: setattr(m.fc, "bias", None),
}


@pytest.mark.parametrize("change", [*UNCHANGED, *CHANGED])
def test_a_tree_is_known_by_all_but_values(change: str) -> None:
    model = net()
    tree, kept = _C.ModuleTree.read(model)
    assert tree.is_that_of(model)
    assert nn.Linear in kept
    {**UNCHANGED, **CHANGED}[change](model)
    assert tree.is_that_of(model) == (change in UNCHANGED)


def test_a_tree_that_cannot_be_read_is_never_the_same() -> None:
    lazy = nn.Sequential(nn.LazyLinear(3))
    assert _C.ModuleTree.read(lazy) is None
    sparse = nn.Linear(2, 2)
    sparse.weight = nn.Parameter(torch.eye(2).to_sparse())
    assert _C.ModuleTree.read(sparse) is None
    assert _C.ModuleTree.read(object()) is None


def test_an_unchanged_model_is_not_looked_through_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = net()
    binding = bound(model)
    binding.check_model(None, None)
    looked = []
    monkeypatch.setattr(scope, "candidates", lambda m: looked.append(m) or candidates(m))
    binding.check_model(None, None)
    assert not looked
    binding.check_model(None, ("fc.*",))
    assert len(looked) == 1


def test_parameters_that_came_back_are_found_by_the_next_check() -> None:
    """The tree is what it was at the last check, but another use has seen others meanwhile."""
    model = net()
    binding = bound(model)
    binding.check_model(None, None)
    old = model.fc.weight
    model.fc.weight = nn.Parameter(torch.ones(7, 5))
    assert binding.parameters[2] is model.fc.weight
    model.fc.weight = old
    binding.check_model(None, None)
    assert binding.last[2] is old
