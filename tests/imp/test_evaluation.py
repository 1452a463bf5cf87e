from __future__ import annotations

import signal

import pytest
import torch
from torch import nn

from impcore import data
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
