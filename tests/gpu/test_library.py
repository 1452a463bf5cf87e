"""The library on a GPU: the CPU's masks, whatever moves and whatever steps."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import impcore

pytestmark = pytest.mark.gpu


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_rounds_give_the_masks_of_the_cpu(dtype, memory_format, gpu_backend, monkeypatch):
    theirs = network().to(dtype).to(memory_format=memory_format)
    ours = copy.deepcopy(theirs).cuda()
    mine = rounds(ours)
    monkeypatch.delenv("IMPCORE_BACKEND")
    cpu = rounds(theirs)
    assert mine[:2] == cpu[:2]
    np.testing.assert_allclose(mine[2], cpu[2], rtol=1e-12)
    np.testing.assert_array_equal(mine[3], cpu[3])
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.cpu(), theirs.get_parameter(name), rtol=0, atol=0)


def rounds(model):
    flow = impcore.Flow(impcore.Masks(model))
    for _ in range(5):
        masks = impcore.prune_global(model, rate=0.2, flow=flow)
    flow.record()
    return masks.hash, masks.remaining, flow.M, flow.P


def test_masks_follow_the_model_to_the_gpu_and_back(monkeypatch):
    model = network()
    masks = impcore.prune_global(model, rate=0.5)
    before = masks.hash
    model.cuda().to(memory_format=torch.channels_last)
    assert masks.hash == before
    impcore.prune_global(model, rate=0.5)
    model.cpu()
    assert all((p[~masks[n]] == 0).all() for n, p in model.named_parameters() if n in masks)


def train(model, optimizer, steps=20, scaler=None, dtype=None):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        inputs = torch.randn(8, 3, 6, 6, generator=generator).cuda()
        labels = torch.randint(10, (8,), generator=generator).cuda()
        optimizer.zero_grad()
        with torch.autocast("cuda", dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            loss = nn.functional.cross_entropy(model(inputs), labels)
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()


@pytest.mark.parametrize(
    ("masked", "plain", "options"),
    [
        ("MaskedSGD", torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}),
        ("MaskedAdamW", torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 1e-2}),
    ],
)
def test_with_all_ones_masks_the_optimizers_are_torch_s(masked, plain, options, gpu_backend):
    ours, theirs = network().cuda(), network().cuda()
    train(ours, getattr(impcore, masked)(ours.parameters(), masks=impcore.Masks(ours), **options))
    train(theirs, plain(theirs.parameters(), **options))
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("masked", ["MaskedSGD", "MaskedAdamW"])
def test_grad_scaler_skips_on_the_device(masked, gpu_backend):
    model = network().cuda()
    masks = impcore.prune_global(model, rate=0.5)
    optimizer = getattr(impcore, masked)(model.parameters(), lr=0.01, masks=masks)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**60, growth_interval=3)
    before = [p.detach().clone() for p in model.parameters()]
    train(model, optimizer, steps=1, scaler=scaler, dtype=torch.float16)  # overflows
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    train(model, optimizer, steps=60, scaler=scaler, dtype=torch.float16)
    assert not all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all((p[~masks[n]] == 0).all() for n, p in model.named_parameters() if n in masks)


@pytest.mark.parametrize("masked", ["MaskedSGD", "MaskedAdamW"])
def test_a_compiled_step_is_the_step(masked, gpu_backend):
    ours, theirs = network().cuda(), network().cuda()
    options = {"lr": 0.05, "momentum": 0.9} if masked == "MaskedSGD" else {"lr": 1e-3}
    steppers = []
    for model in (ours, theirs):
        masks = impcore.prune_global(model, rate=0.5)
        steppers.append(getattr(impcore, masked)(model.parameters(), masks=masks, **options))
    compiled = torch.compile(steppers[0].step, fullgraph=True)
    for _ in range(3):
        for model in (ours, theirs):
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
        compiled()
        steppers[1].step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_without_a_backend_for_the_gpu_the_error_says_what_to_do(monkeypatch):
    from impcore.ops import backend

    monkeypatch.setattr(backend, "_built", lambda: ("cpu", "reference"))
    backend._usual.cache_clear()
    try:
        with pytest.raises(impcore.errors.BackendError, match="pip install triton"):
            impcore.prune_global(network().cuda(), rate=0.2)
    finally:
        backend._usual.cache_clear()
