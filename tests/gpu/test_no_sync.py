"""Pruning, measuring and stepping on a GPU wait for nothing and copy nothing to the host."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

import impcore

pytestmark = pytest.mark.gpu
# Calls of the host, and what the device does for one.
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
COPY = "Memcpy DtoH"


def build():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(500)).cuda()
    model(torch.randn(2, 3, 8, 8, device="cuda")).sum().backward()
    masks = impcore.prune_global(model, rate=0.1)
    return model, masks


def waits(function: Callable[[], object], mode: str = "error") -> list[str]:
    """The events of a run that wait for the device or copy from it; run twice before."""
    function()
    profiled(function, "default")  # the profiler's own start takes part in this one
    events = profiled(function, mode)
    on_device = [e.name for e in events if e.device_type == DeviceType.CUDA and e.name != "here"]
    assert any("Mem" not in name for name in on_device), "the profiler saw no kernel"
    # The profiler itself waits, before and after.
    (span,) = (e.time_range for e in events if e.name == "here" and e.device_type == DeviceType.CPU)
    inside = [e.name for e in events if span.start <= e.time_range.start <= span.end]
    found = [name for name in inside if name.startswith(WAITS)]
    return found + [e.name for e in events if e.name.startswith(COPY)]


def profiled(function, mode):
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        torch.cuda.set_sync_debug_mode(mode)
        try:
            with record_function("here"):
                function()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
    return seen.events()


def test_prune_global_without_sync(gpu_backend):
    model, _ = build()
    assert waits(lambda: impcore.prune_global(model, rate=0.1, sync=False)) == []


def test_recording_the_flow(gpu_backend):
    model, masks = build()
    flow = impcore.Flow(masks)
    assert waits(flow.record) == []
    assert waits(lambda: impcore.prune_global(model, rate=0.1, sync=False, flow=flow)) == []
    assert len(flow.M) == 2 * 3  # `waits` calls three times


@pytest.mark.parametrize("name", ["MaskedSGD", "MaskedAdamW"])
def test_a_masked_step(name, gpu_backend):
    model, masks = build()
    options = {"momentum": 0.9} if name == "MaskedSGD" else {}
    optimizer = getattr(impcore, name)(model.parameters(), lr=0.1, masks=masks, **options)
    assert waits(optimizer.step) == []


def test_the_hook_after_another_optimizer(gpu_backend):
    model, masks = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=True)
    assert waits(optimizer.step) == []
    assert all(
        (p[~masks[name]] == 0).all() for name, p in model.named_parameters() if name in masks
    )


def test_control_pytorch_refuses_a_wait():
    value = torch.ones(1, device="cuda")
    with pytest.raises(RuntimeError, match="synchronizing"):
        waits(lambda: (value + 1).item())


@pytest.mark.parametrize(
    ("wait", "event"),
    [
        (lambda value: value.cpu(), COPY),
        (lambda value: value.item(), "cudaStreamSynchronize"),
        (lambda value: torch.cuda.synchronize(), "cudaDeviceSynchronize"),
    ],
    ids=["copy", "read", "device"],
)
def test_control_the_profiler_sees_a_wait(wait, event):
    value = torch.ones(1, device="cuda")
    found = waits(lambda: wait(value.add_(1)), mode="default")
    assert any(name.startswith(event) for name in found), found
