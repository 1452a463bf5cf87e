from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from impcore.imp.tasks import TASKS


@given(st.integers(1, 20), st.integers(2, 6), st.integers(0, 2**31))
def test_classification_by_its_definition(count: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, classes, generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    task = TASKS["classification"]
    best = [max(range(classes), key=lambda c: float(row[c])) for row in logits]
    assert int(task.hits(logits, labels)) == sum(
        b == label for b, label in zip(best, labels.tolist(), strict=True)
    )
    picked = logits.double().softmax(1)[torch.arange(count), labels]
    assert torch.allclose(task.loss(logits, labels).double(), -picked.log().mean(), atol=1e-5)
    assert torch.equal(task.forward(nn.Identity(), logits), logits)
