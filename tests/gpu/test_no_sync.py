"""Pruning, measuring and stepping on a GPU wait for nothing and copy nothing to the host."""

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import impcore

pytestmark = pytest.mark.gpu
WAITS = ("Memcpy DtoH", "cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def build():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(500)).cuda()
    model(torch.randn(2, 3, 8, 8, device="cuda")).sum().backward()
    masks = impcore.prune_global(model, rate=0.1)
    return model, masks


def waits(function):
    """The events of a run that wait for the device or copy from it; run once before."""
    function()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            function()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    names = [event.name for event in seen.events()]
    assert any("impcore" in name or "kernel" in name.lower() for name in names)
    # The profiler itself waits once at its end.
    return [name for name in names if any(wait in name for wait in WAITS[:2])]


def test_prune_global_without_sync(gpu_backend):
    model, _ = build()
    assert waits(lambda: impcore.prune_global(model, rate=0.1, sync=False)) == []


def test_recording_the_flow(gpu_backend):
    model, masks = build()
    flow = impcore.Flow(masks)
    assert waits(flow.record) == []
    assert waits(lambda: impcore.prune_global(model, rate=0.1, sync=False, flow=flow)) == []
    assert len(flow.M) == 4


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


def test_a_wait_is_seen():
    value = torch.ones(1, device="cuda")
    with pytest.raises(RuntimeError, match="synchronizing"):
        waits(value.item)
