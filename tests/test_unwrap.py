"""Wrappers in any nesting give the model inside."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import torch
from library_cases import PRUNABLE, backward, net, regrown
from torch import distributed, nn

import impcore
from impcore.unwrap import unwrap


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize(
    "wrappers",
    [[], [compiled], [nn.DataParallel], [compiled, nn.DataParallel], [nn.DataParallel, compiled]],
)
def test_wrappers_are_taken_off(wrappers: list) -> None:
    model = net()
    wrapped: nn.Module = model
    for wrap in wrappers:
        wrapped = wrap(wrapped)
    assert unwrap(wrapped) is model


def test_a_module_called_module_is_no_wrapper() -> None:
    model = nn.Module()
    model.module = nn.Linear(2, 2)
    assert unwrap(model) is model
    assert impcore.Masks(model).names == ["module.weight"]


@pytest.mark.parametrize("value", [None, nn.Linear, "model", torch.ones(2), [nn.Linear(1, 1)]])
def test_what_is_no_model_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        impcore.prune_global(value, 0.5)
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module"):
        impcore.masks_of(value)


@pytest.fixture
def process_group() -> Iterator[None]:
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=0, world_size=1
    )
    yield
    distributed.destroy_process_group()


def test_distributed_data_parallel_is_seen_through(process_group: None) -> None:
    model = net()
    wrapped = nn.parallel.DistributedDataParallel(model)
    both = compiled(wrapped)
    masks = impcore.prune_global(both, 0.5)
    assert masks.names == PRUNABLE
    assert impcore.masks_of(model) is impcore.masks_of(wrapped) is impcore.masks_of(both) is masks
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1, momentum=0.9)
    for seed in range(2):
        backward(wrapped, seed)
        optimizer.step()
        assert regrown(masks) == 0
    assert impcore.prune_global(wrapped, 0.5) is masks


@pytest.mark.filterwarnings("ignore:.*torch.jit.script")
def test_a_script_module_has_nothing_to_prune() -> None:
    model = torch.jit.script(nn.Sequential(nn.Linear(3, 3)))
    assert impcore.masks_of(model) is None
    with pytest.raises(ValueError, match="has no Linear or convolution weights to prune"):
        impcore.prune_global(model, 0.5)
