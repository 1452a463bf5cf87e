"""Every stock optimiser keeps pruned weights at +0 and treats the others as without masks."""

from __future__ import annotations

import copy
import gc
import inspect
import subprocess
import sys
import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from library_cases import PRUNABLE, Net, backward, bits, net, regrown
from torch import nn

import impcore
from impcore import hooks
from impcore.errors import LayoutError, ModelChangedError

# Options that would revive pruned weights if nobody followed.
OPTIONS: dict[str, dict[str, object]] = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    "LBFGS": {"lr": 0.1, "max_iter": 3, "history_size": 4},
    "Rprop": {"lr": 0.01},
    "Adafactor": {"lr": 0.01},
    "Muon": {"lr": 0.01},
}
ELSEWHERE = {"Optimizer", "SparseAdam"}  # the base class; for sparse gradients of embeddings only


def variants() -> list[tuple[str, dict[str, object]]]:
    found = []
    for name in torch.optim.__all__:
        cls = getattr(torch.optim, name)
        if name in ELSEWHERE or not (
            inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer)
        ):
            continue
        options = OPTIONS.get(name, {"lr": 0.1, "weight_decay": 0.01})
        accepted = inspect.signature(cls).parameters
        found.append((name, options))
        if "foreach" in accepted:
            found += [(name, {**options, "foreach": True}), (name, {**options, "foreach": False})]
        if "fused" in accepted:
            found.append((name, {**options, "fused": True}))
        if "maximize" in accepted and name != "LBFGS":
            found.append((name, {**options, "maximize": True}))
    return found


def stepped(name: str, model: nn.Module) -> list[nn.Parameter]:
    matrices_only = name == "Muon"
    return [p for p in model.parameters() if p.dim() == 2 or not matrices_only]


def test_the_list_of_optimisers_is_not_empty() -> None:
    names = {name for name, _ in variants()}
    assert {"SGD", "Adam", "AdamW", "RMSprop", "LBFGS", "Adafactor", "Rprop", "ASGD"} <= names


@pytest.mark.parametrize(("name", "options"), variants(), ids=str)
def test_stock_optimisers_leave_pruned_weights_at_zero(
    name: str, options: dict[str, object]
) -> None:
    model, twin = net(), net()
    masks = impcore.prune_global(model, 0.6)
    twin.load_state_dict(model.state_dict())
    # The twin has no masks: after each step its pruned weights are zeroed by hand, so that both
    # start each step from the same weights and state.
    optimizers = [getattr(torch.optim, name)(stepped(name, m), **options) for m in (model, twin)]
    grew = 0
    for step in range(4):
        for m, optimizer in zip((model, twin), optimizers, strict=True):

            def closure(m: nn.Module = m, step: int = step) -> torch.Tensor:
                m.zero_grad()
                backward(m, step)
                return torch.tensor(float(step))

            closure()
            optimizer.step(closure) if name == "LBFGS" else optimizer.step()
        grew += sum(int(twin.get_parameter(n)[~mask].count_nonzero()) for n, mask in masks.items())
        with torch.no_grad():
            for n, mask in masks.items():
                twin.get_parameter(n)[~mask] = 0.0
        assert regrown(masks) == 0
        for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
            assert torch.equal(a, b)
        if step == 1:
            impcore.prune_global(model, 0.2)
            twin.load_state_dict(model.state_dict())
    assert grew > 0, "the twin must show that something would have grown back"


def test_a_subclass_and_a_gradient_scaler() -> None:
    class Drift(torch.optim.Optimizer):
        def step(self, closure: object = None) -> None:
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.add_(1.0)

    model = net()
    masks = impcore.prune_global(model, 0.5)
    Drift(model.parameters(), {}).step()
    assert regrown(masks) == 0
    scaler = torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler.scale(model(torch.randn(2, 3, 5, 5)).sum()).backward()
    scaler.step(optimizer)
    assert regrown(masks) == 0


def test_replaced_parameter_objects_are_followed() -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)

    def assign() -> None:
        ones = {k: torch.ones_like(v) for k, v in model.state_dict().items()}
        model.load_state_dict(ones, assign=True)

    def convert() -> None:
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            model.half()
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(False)

    def swap() -> None:
        model.fc = nn.Linear(5, 7).to(model.fc.weight.dtype)

    for replace in (assign, convert, swap):
        old = masks.parameters
        replace()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
        model.eval()
        backward(model)
        optimizer.step()
        assert any(a is not b for a, b in zip(old, masks.parameters, strict=True))
        assert regrown(masks) == 0
        assert all(masks.words_of([p])[0] >= 0 for p in masks.parameters)
    model.fc = nn.Linear(5, 8).half()
    with pytest.raises(ModelChangedError, match=r"fc\.weight was \(7, 5\), is \(8, 5\)"):
        torch.optim.SGD(model.parameters(), lr=0.1).step()


def test_a_tie_of_two_objects_that_breaks_is_noticed_at_the_next_step() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = nn.Parameter(model[0].weight.data)
    masks = impcore.prune_global(model, 0.5)
    assert masks.names == ["0.weight"]
    optimizer = torch.optim.SGD([model[1].weight], lr=0.1)
    model[1].weight.grad = torch.ones(4, 4)
    optimizer.step()
    assert regrown(masks) == 0
    model.half()
    with pytest.raises(ModelChangedError, match=r"1\.weight was tied to 0\.weight"):
        optimizer.step()


def test_a_model_that_changed_stops_its_own_steps_alone() -> None:
    teacher, student = net(), net()
    impcore.prune_global(teacher, 0.5)
    masks = impcore.prune_global(student, 0.5)
    teacher.fc = nn.Linear(5, 8)
    backward(student)
    for kind in (torch.optim.SGD, partial(impcore.MaskedSGD, masks=masks)):
        kind(student.parameters(), lr=0.1).step()
        assert regrown(masks) == 0
    buffer = torch.randn(96)
    twisted = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    impcore.prune_global(twisted, 0.5)
    twisted[0].weight = nn.Parameter(buffer[:64].view(8, 8))
    twisted[1].weight = nn.Parameter(buffer[32:].view(8, 8))
    torch.optim.SGD(student.parameters(), lr=0.1).step()
    with pytest.raises(LayoutError, match="overlap"):
        torch.optim.SGD(twisted.parameters(), lr=0.1).step()
    head = [teacher.fc.weight]  # never masked, but of the model that changed
    for params in (head, teacher.parameters()):
        with pytest.raises(ModelChangedError, match=r"fc\.weight was \(7, 5\), is \(8, 5\)"):
            torch.optim.SGD(params, lr=0.1).step()


def test_release_lets_weights_grow_back() -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    masks.release()
    assert impcore.masks_of(model) is None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    backward(model)
    optimizer.step()
    assert regrown(masks) > 0
    assert masks.words_of(masks.parameters) == [-1] * len(PRUNABLE)
    masks.release()
    masks.apply()
    assert regrown(masks) == 0


def test_the_copy_of_a_pruned_model_is_followed_too() -> None:
    model = net()
    masks = impcore.prune_global(model, 0.5)
    twin = copy.deepcopy(model)
    copied = impcore.masks_of(twin)
    for m in (twin, model):
        optimizer = torch.optim.Adam(m.parameters(), lr=0.1)
        backward(m)
        optimizer.step()
    assert regrown(copied) == regrown(masks) == 0
    impcore.prune_global(twin, 0.5)
    assert masks.remaining > copied.remaining


def test_dropping_the_model_frees_masks_and_weights_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        model: nn.Module | None = net()
        masks = impcore.prune_global(model, 0.5)
        key = id(masks)
        watched = [weakref.ref(x) for x in (model, masks, model.fc.weight, masks.words)]
        del masks
        assert key in hooks._live
        model = None
        assert [ref() for ref in watched] == [None] * 4
        assert key not in hooks._live
    finally:
        gc.enable()


LIFE = """
import torch, impcore
from torch import nn
from torch.optim.optimizer import _global_optimizer_post_hooks as installed
import impcore.hooks
assert len(installed) == 0
models = [nn.Linear(3, 3), nn.Linear(3, 3)]
for model in models:
    impcore.prune_global(model, 0.5)
assert len(installed) == 1
impcore.masks_of(models[0]).release()
assert len(installed) == 1
del model, models
assert len(installed) == 0
model = nn.Linear(3, 3)
impcore.prune_global(model, 0.5)
impcore.Masks(model)
assert len(installed) == 1
"""


def test_the_hook_comes_with_the_first_masks_goes_with_the_last_and_exits_in_silence() -> None:
    done = subprocess.run([sys.executable, "-c", LIFE], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


MAKERS: dict[str, tuple[bool, Callable[[nn.Module], torch.optim.Optimizer]]] = {
    # Stock steps with their own graph break do not trace with fullgraph=True, masks or not.
    "SGD": (False, lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9)),
    "AdamW": (False, lambda m: torch.optim.AdamW(m.parameters(), lr=0.1)),
    "Adafactor": (True, lambda m: torch.optim.Adafactor(m.parameters(), lr=0.1)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_compiled_steps_are_followed(name: str) -> None:
    fullgraph, make = MAKERS[name]
    other = net()
    another = impcore.Masks(other)  # so the hook is there when the step is first traced
    model: nn.Module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    holder = {"optimizer": make(model)}
    torch._dynamo.reset()
    compiled = torch.compile(
        lambda: holder["optimizer"].step(), fullgraph=fullgraph, backend="aot_eager"
    )

    def step() -> None:
        model.zero_grad()
        model(torch.randn(3, 8)).square().sum().backward()
        compiled()

    step()  # traced before the model has masks
    masks = impcore.prune_global(model, 0.5)
    step()
    assert regrown(masks) == 0
    impcore.prune_global(model, 0.3)
    step()
    assert regrown(masks) == 0
    masks["0.weight"] = torch.rand(16, 8) < 0.3
    step()
    assert regrown(masks) == 0
    model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()}, assign=True)
    holder["optimizer"] = make(model)
    step()
    assert regrown(masks) == 0
    newer = impcore.Masks(model)
    newer["2.weight"] = torch.zeros(4, 16, dtype=torch.bool)
    step()
    assert regrown(newer) == 0
    assert bool((bits(model[0].weight) != 0).any())
    assert another.remaining == another.total
    newer.release()
    step()
    assert regrown(newer) > 0


def test_a_net_without_masks_is_untouched() -> None:
    model = Net()
    before = {n: bits(p) for n, p in model.named_parameters()}
    masks = impcore.prune_global(net(), 0.5)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert masks.remaining > 0
    assert all(torch.equal(bits(p), before[n]) for n, p in model.named_parameters())
