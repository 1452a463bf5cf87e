from __future__ import annotations

import torch
from torch import Tensor, nn

import impcore
from impcore.scores import grasp

from .cases import batches, half_square, loss, smooth, tiny, total_loss


def test_by_hand_and_its_sign() -> None:
    # y = 3 - 1 = 2, L = y^2 / 2, g = y x = [2, 2], H = x x^T = ones, Hg = [4, 4].
    layer = tiny([3.0, -1.0])
    x = torch.ones(1, 2)
    assert grasp(layer, [x], half_square)["weight"].tolist() == [[12.0, -4.0]]
    # Without the second weight y = 3 and |g|^2 grows from 8 to 18: it is the one to remove.
    impcore.prune_global(layer, count=1, score="grasp", data=[x], loss=half_square)
    assert layer.weight.tolist() == [[3.0, 0.0]]


def brute(model: nn.Module, data: list, masks: dict[str, Tensor]) -> dict[str, Tensor]:
    """w * Hg with the whole Hessian, in float64."""
    value = total_loss(model, data)
    names = ["0.weight", "4.weight", "6.weight"]
    weights = tuple(model.get_parameter(name).detach().double() for name in names)

    def of(*tensors: Tensor) -> Tensor:
        return value(dict(zip(names, tensors, strict=True)))

    g = torch.autograd.functional.jacobian(of, weights)
    g = [part * masks[name] if masks else part for name, part in zip(names, g, strict=True)]
    hessian = torch.autograd.functional.hessian(of, weights)
    products = (
        sum((block * part).flatten(w.dim()).sum(-1) for block, part in zip(row, g, strict=True))
        for w, row in zip(weights, hessian, strict=True)
    )
    return {n: w * hg for n, w, hg in zip(names, weights, products, strict=True)}


def test_it_is_the_hessian_times_the_gradient_of_the_summed_loss() -> None:
    model, data = smooth(), batches()
    for pruned in (False, True):
        masks = dict(impcore.prune_global(model, 0.4)) if pruned else {}
        expected = brute(model, data, masks)
        for repeated in (data, iter(data)):
            scores = grasp(model, repeated, loss)
            for name, want in expected.items():
                torch.testing.assert_close(scores[name].double(), want, rtol=1e-4, atol=1e-6)
    assert min(score.min() for score in scores.values()) < 0


def test_a_linear_loss_has_no_hessian() -> None:
    scores = grasp(tiny([3.0, -1.0]), [torch.ones(1, 2)], lambda m, x: m(x).sum())
    assert not scores["weight"].any()


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.project(x).view(2, 4, 3, 2, 4).permute(2, 0, 3, 1, 4)
        return nn.functional.scaled_dot_product_attention(q, k, v)


def test_attention_can_be_differentiated_twice() -> None:
    torch.manual_seed(0)
    scores = grasp(Attention(), [torch.randn(2, 4, 8)], lambda m, x: m(x).square().sum())
    assert torch.isfinite(scores["project.weight"]).all()
    assert scores["project.weight"].any()


def test_half_weights_are_scored_in_float32() -> None:
    """Each batch's part has 5 bits, and bfloat16 has 8; their sum has 9."""
    layer = tiny([1.0, 1.0]).bfloat16()
    data = [torch.tensor([[x, 0.0]], dtype=torch.bfloat16) for x in (16.0, 4.0)]
    scores = grasp(layer, data, half_square)
    assert scores["weight"].dtype == torch.float32
    assert scores["weight"][0, 0] == (16.0**2 + 4.0**2) ** 2  # w (sum x^2) (sum x^2 w)
