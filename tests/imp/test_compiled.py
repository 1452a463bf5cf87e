from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch._dynamo
from torch import nn

import impcore
from impcore.errors import ConfigError
from impcore.imp import compiled, lab, training

MakeConfig = Callable[..., Any]


@pytest.fixture(autouse=True)
def _limits() -> Iterator[None]:
    """What is compiled here sets limits of the whole process: put them back."""
    with torch._dynamo.config.patch(recompile_limit=8, fail_on_recompile_limit_hit=False):
        yield


def with_backend(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    """Compile by a backend that needs no C++ compiler, and no time."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))


def test_the_model_keeps_its_names_and_its_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    with_backend(monkeypatch, "eager")
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    names = list(model.state_dict())
    call = compiled.compiled(model)
    masks = impcore.prune_global(model, rate=0.5)
    x = torch.randn(5, 4)
    assert torch.equal(call(x), model(x))
    call(x).sum().backward()
    assert model[0].weight.grad is not None
    assert list(model.state_dict()) == names
    assert impcore.masks_of(model) is masks


def test_a_run_trains_what_is_compiled(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled_for: list[Any] = []

    def backend(graph: Any, examples: list[Any]) -> Any:
        compiled_for.append(examples)
        return graph.forward

    with_backend(monkeypatch, backend)
    losses = []
    for compile in (True, False):
        made = lab.build(make_config(train__compile=compile))
        steps = training.steps(made.learner(), made.train, made.rate_at, start=0, end=2)
        losses.append([loss.item() for _, loss in steps])
    assert losses[0] == losses[1]
    assert compiled_for


def test_what_cannot_be_compiled_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Any, examples: Any) -> Any:
        raise RuntimeError("no compiler here")

    with_backend(monkeypatch, broken)
    call = compiled.compiled(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match=r"train\.compile = true: .*should be false"):
        call(torch.zeros(1, 2))


def test_every_shape_is_compiled_by_itself_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[torch.Size] = []

    def backend(graph: Any, examples: list[Any]) -> Any:
        shapes.append(examples[-1].shape)
        return graph.forward

    with_backend(monkeypatch, backend)
    monkeypatch.setattr(compiled, "MAX_SHAPES", 10)
    call = compiled.compiled(nn.Sequential(nn.Flatten()))
    for size in (*range(1, 11), 3, 10):
        call(torch.zeros(2, size))
    assert shapes == [torch.Size((2, size)) for size in range(1, 11)]
    with pytest.raises(ConfigError, match=r"train\.compile = true: .*recompile_limit"):
        call(torch.zeros(2, 11))


@pytest.mark.soak
def test_the_default_compiler_computes_the_same() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    x = torch.randn(3, 1, 6, 6)
    assert torch.allclose(compiled.compiled(model)(x), model(x), atol=1e-5)
