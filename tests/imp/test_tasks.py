from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from impcore.data.truth import Truth
from impcore.imp.tasks import TASKS


@given(st.integers(1, 20), st.integers(2, 6), st.integers(0, 2**31))
def test_classification_by_its_definition(count: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    task = TASKS["classification"]
    best = [max(range(classes), key=lambda c: float(row[c])) for row in logits]
    hits = sum(b == label for b, label in zip(best, labels.tolist(), strict=True))
    results = task.results(logits, None, labels).numpy()
    assert task.metrics(results, Truth(), 0.5) == {"accuracy": hits / count}
    picked = logits.double().softmax(1)[torch.arange(count), labels]
    assert torch.allclose(task.loss(logits, labels).double(), -picked.log().mean(), atol=1e-5)
    assert torch.equal(task.forward(nn.Identity(), logits), logits)


def test_a_dictionary_of_inputs_are_the_models_keywords() -> None:
    class Sum(nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return left - right

    inputs = {"right": torch.tensor(1.0), "left": torch.tensor(3.0)}
    assert float(TASKS["regression"].forward(Sum(), inputs)) == 2.0


def test_regression_correlates_and_squares() -> None:
    task = TASKS["regression"]
    outputs, targets = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.0, 2.0, 5.0])
    assert float(task.loss(outputs, targets)) == pytest.approx(2 / 3)
    results = task.results(outputs.bfloat16(), None, targets).numpy()
    found = task.metrics(results, Truth(("pearson", "spearman")), 0.0)
    assert found["pearson"] == pytest.approx(np.corrcoef([1, 2, 4], [0, 2, 5])[0, 1])
    assert found["spearman"] == pytest.approx(1.0)
    assert "accuracy" not in found


def test_spans_are_sought_in_the_context_only() -> None:
    inputs = {
        "token_type_ids": torch.tensor([[0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]]),
    }
    scores = torch.tensor([9.0, 9.0, 1.0, 2.0, 9.0, 9.0]).repeat(2, 1)[:, :, None].expand(-1, -1, 2)
    found = TASKS["extractive_qa"].results(scores, inputs, torch.zeros(2, 2))
    assert found.tolist() == [[4.0, 3.0, 3.0], [18.0, 1.0, 1.0]]


def test_the_loss_of_a_span_is_the_mean_over_its_ends() -> None:
    scores = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(0))
    spans = torch.tensor([[0, 1], [2, 4], [3, 3]])
    flat = F.cross_entropy(scores.permute(0, 2, 1).flatten(0, 1), spans.flatten())
    assert torch.allclose(TASKS["extractive_qa"].loss(scores, spans), flat)


@pytest.mark.parametrize(("loss", "perplexity"), [(0.0, 1.0), (math.log(7), 7.0)])
def test_masked_tokens_have_an_accuracy_and_a_perplexity(loss: float, perplexity: float) -> None:
    found = TASKS["mlm"].metrics(np.array([[1, 1], [2, 3]]), Truth(), loss)
    assert found == {"accuracy": 0.5, "perplexity": pytest.approx(perplexity)}
    assert math.isnan(TASKS["mlm"].metrics(np.array([[1, 1]]), Truth(), math.nan)["perplexity"])
