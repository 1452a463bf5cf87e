from __future__ import annotations

import signal

import pytest
import torch
from torch import nn

from impcore import data
from impcore.data.truth import Truth
from impcore.imp.evaluation import evaluate
from impcore.imp.signals import Stop, Stopped
from impcore.imp.tasks import TASKS


@pytest.fixture(scope="module")
def test_set() -> data.DeviceBatches:
    digits = data.load("digits")
    return data.DeviceBatches(digits.test, digits, batch_size=100)


def model() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))


@pytest.mark.parametrize("batch_size", [1, 7, 359, 360, 1000])
def test_equals_one_pass_over_everything(test_set: data.DeviceBatches, batch_size: int) -> None:
    network = model().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    score = evaluate(network, test_set, TASKS["classification"], Stop(), batch_size=batch_size)
    ((images, labels),) = test_set.eval_batches(len(test_set))
    with torch.no_grad():
        logits = network.eval()(images)
    hits = int((logits.argmax(1) == labels).sum())
    assert score.accuracy == hits / len(labels)
    loss = nn.functional.cross_entropy(logits.double(), labels).item()
    assert score.loss == pytest.approx(loss, rel=1e-6)
    after = network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_as_before_even_when_stopped(
    test_set: data.DeviceBatches, training: bool
) -> None:
    network, stop = model().train(training), Stop()
    evaluate(network, test_set, TASKS["classification"], stop, batch_size=100)
    assert network.training == training
    stop.request(signal.SIGTERM)
    with pytest.raises(Stopped):
        evaluate(network, test_set, TASKS["classification"], stop, batch_size=100)
    assert network.training == training


def test_it_tells_of_every_batch(test_set: data.DeviceBatches) -> None:
    told: list[tuple[int, int]] = []

    def advance(done: int, batches: int) -> None:
        told.append((done, batches))

    task = TASKS["classification"]
    evaluate(model(), test_set, task, Stop(), batch_size=100, advance=advance)
    assert told == [(number, 5) for number in range(1, 6)]


def test_what_the_split_asks_for_is_measured_on_each_part(test_set: data.DeviceBatches) -> None:
    count = len(test_set)
    wanted = Truth(("f1", "accuracy"), {"": (0, 100), "_rest": (100, count)})
    network = model()
    score = evaluate(network, test_set, TASKS["classification"], Stop(), batch_size=64)
    test_set.truth = wanted
    try:
        parts = evaluate(network, test_set, TASKS["classification"], Stop(), batch_size=64)
    finally:
        del test_set.truth
    assert list(parts.metrics) == ["f1", "accuracy", "f1_rest", "accuracy_rest"]
    halves = parts.metrics["accuracy"] * 100 + parts.metrics["accuracy_rest"] * (count - 100)
    assert halves / count == pytest.approx(score.metrics["accuracy"])
    assert parts.loss == score.loss
