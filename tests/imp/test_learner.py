from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from torch import nn

import impcore
from impcore.config import Length, Train
from impcore.errors import ConfigError
from impcore.imp import optimizers, tree
from impcore.imp.learner import Batch, Learner, autocast, gradient_scaler
from impcore.imp.tasks import TASKS

TASK = TASKS["classification"]
CPU = torch.device("cpu")


def made(smoothing: float = 0.0, **options: Any) -> Learner:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    masks = impcore.prune_global(model, rate=0.4)
    optimizer = optimizers.fresh(model, masks, Train(length=Length("9it")))
    return Learner(model, masks, optimizer, TASK, TASK.training_loss(smoothing), CPU, **options)


def batch(seed: int, size: int = 8) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, 6, generator=generator)
    return inputs, torch.randint(4, (size,), generator=generator)


def weights(learner: Learner) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in learner.model.parameters()])


def test_amp_computes_in_its_type() -> None:
    w = torch.ones(2, 2)
    for amp, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("none", torch.float32)):
        with autocast(CPU, amp):
            assert (w @ w).dtype == dtype
    assert gradient_scaler(CPU, "bf16") is gradient_scaler(CPU, "none") is None


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}, {"smoothing": 0.2}], ids=str)
def test_several_batches_are_one_large_one(options: dict[str, Any]) -> None:
    several, one = made(**options), made(**options)
    for seed in range(3):
        parts = [batch(10 * seed + i, size) for i, size in enumerate((5, 8, 2))]
        whole = torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])
        loss = several.step(parts, 0.1)
        assert loss.item() == pytest.approx(one.step([whole], 0.1).item(), rel=1e-5)
        assert loss.shape == ()
        assert not loss.requires_grad
    assert torch.allclose(weights(several), weights(one), atol=1e-6)


def test_a_single_batch_costs_no_bit() -> None:
    learner, plain = made(), made()
    inputs, targets = batch(0)
    loss = learner.step([(inputs, targets)], 0.3)
    plain.optimizer.param_groups[0]["lr"] = 0.3
    wanted = nn.functional.cross_entropy(plain.model(inputs), targets)
    wanted.backward()
    plain.optimizer.step()
    assert loss == wanted
    assert torch.equal(weights(learner), weights(plain))


def test_clipping_bounds_the_first_step() -> None:
    learner = made(clip_norm=0.01)
    before = weights(learner)
    learner.step([batch(0)], 1.0)
    decay = 1e-4 * before.norm()
    assert (weights(learner) - before).norm() <= 0.01 + decay + 1e-6
    learner.step([batch(0)], 1.0)


def test_smoothing_is_of_the_training_loss_alone() -> None:
    inputs, targets = batch(0)
    logits = made().model(inputs).detach()
    wanted = nn.functional.cross_entropy(logits, targets, label_smoothing=0.2)
    assert made(smoothing=0.2).step([(inputs, targets)], 0.1) == wanted
    assert TASK.loss(logits, targets) != wanted
    with pytest.raises(ConfigError, match=r"train\.label_smoothing = 0\.1: should be 0"):
        TASKS["regression"].training_loss(0.1)
    spans = torch.randn(2, 5, 2), torch.tensor([[1, 2], [0, 4]])
    assert TASKS["extractive_qa"].training_loss(0.3)(*spans) != TASKS["extractive_qa"].loss(*spans)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_scaled_gradients_make_the_same_step(clip_norm: float | None) -> None:
    scaled = made(scaler=torch.amp.GradScaler("cpu"), clip_norm=clip_norm)
    plain = made(clip_norm=clip_norm)
    for seed in range(4):
        pair = [batch(seed), batch(seed + 50)]
        wanted = plain.step(pair, 0.1).item()
        assert scaled.step(pair, 0.1).item() == pytest.approx(wanted, rel=1e-5)
    assert torch.allclose(weights(scaled), weights(plain), atol=1e-6)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_a_step_that_overflows_changes_the_scale_alone(clip_norm: float | None) -> None:
    learner = made(amp="fp16", scaler=gradient_scaler(CPU, "fp16"), clip_norm=clip_norm)
    assert learner.scaler is not None
    before = weights(learner)
    inputs, targets = batch(0)
    learner.step([(inputs * 1e5, targets)], 0.1)
    assert torch.equal(weights(learner), before)
    assert learner.scaler.get_scale() == 2.0**15
    learner.step([(inputs, targets)], 0.1)
    assert not torch.equal(weights(learner), before)
    assert learner.scaler.get_scale() == 2.0**15


@pytest.mark.parametrize("amp", ["none", "bf16", "fp16"])
def test_a_saved_state_goes_on_to_the_bit(amp: str) -> None:
    learner = made(amp=amp, scaler=gradient_scaler(CPU, amp), clip_norm=0.3)
    for seed in range(3):
        learner.step([batch(seed, 8), batch(seed + 20, 3)], 0.1)
    content, tensors = tree.split(learner.state_dict(), "learner")
    saved = {name: tensor.clone() for name, tensor in tensors.items()}
    state = copy.deepcopy(learner.model.state_dict())
    resumed = made(amp=amp, scaler=gradient_scaler(CPU, amp), clip_norm=0.3)
    resumed.model.load_state_dict(state)
    resumed.load_state_dict(tree.join(json.loads(json.dumps(content)), saved))
    for seed in range(3, 6):
        assert learner.step([batch(seed)], 0.1) == resumed.step([batch(seed)], 0.1)
    assert torch.equal(weights(learner), weights(resumed))
    assert int((weights(learner) == 0).sum()) >= 32
