from __future__ import annotations

import torch
from library_cases import net

import impcore
from impcore.scores import snip

from .cases import batches, half_square, loss, smooth, tiny, total_loss


def test_by_hand() -> None:
    # y = 2 - 3 = -1; L = y^2 / 2; dL/dw = y x = [-1, -1]; |w dL/dw| = [2, 3].
    layer = tiny([2.0, -3.0])
    x = torch.ones(1, 2)
    assert snip(layer, [x], half_square)["weight"].tolist() == [[2.0, 3.0]]
    # A second input [0, 1]: y = -3, dL/dw = [0, -3]; the sum is [-1, -4].
    both = snip(layer, [x, torch.tensor([[0.0, 1.0]])], half_square)
    assert both["weight"].tolist() == [[2.0, 12.0]]
    impcore.prune_global(layer, count=1, score="snip", data=[x], loss=half_square)
    assert layer.weight.tolist() == [[0.0, -3.0]]


def test_it_is_the_derivative_by_a_connection() -> None:
    model, data = smooth(), batches()
    scores = snip(model, data, loss)
    assert list(scores) == ["0.weight", "4.weight", "6.weight"]
    value = total_loss(model, data)
    for name, score in scores.items():
        weight = model.get_parameter(name).detach().double()
        flat = weight.flatten()
        for i in range(0, flat.numel(), 5):
            step = torch.zeros_like(flat)
            step[i] = 1e-6 * flat[i]
            above, below = (
                value({name: (flat + sign * step).reshape(weight.shape)}) for sign in (1, -1)
            )
            slope = ((above - below) / 2e-6).abs().item()
            assert abs(slope - score.flatten()[i].item()) < 1e-5 * (1 + slope)


def test_half_precision_is_scored_in_float32() -> None:
    model = net().bfloat16()
    x = torch.randn(4, 3, 5, 5).bfloat16()
    scores = snip(model, [x], lambda m, b: m(b).float().square().sum())
    assert {score.dtype for score in scores.values()} == {torch.float32}
