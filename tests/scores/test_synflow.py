from __future__ import annotations

import numpy as np
import pytest
import torch
from library_cases import net
from torch import Tensor, nn

import impcore
from impcore.scores import synflow


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 2, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(3, 4, bias=False),
        nn.ReLU(),
        nn.Linear(4, 2, bias=False),
    )
    with torch.no_grad():  # as if it had been trained
        model[1].weight.uniform_(-1, 1)
        model[1].running_mean.uniform_(5, 9)
        model[1].running_var.uniform_(0.5, 2)
    return model


def flow(model: nn.Module) -> float:
    """R, written out for `network`, in float64."""
    x = torch.ones(1, 2, 3, 3, dtype=torch.float64)
    w1, w2, w3 = (model[i].weight.detach().double().abs() for i in (0, 6, 8))
    norm = model[1]
    scale = norm.weight.detach().double().abs() / (norm.running_var.double() + norm.eps).sqrt()
    shift = norm.bias.detach().double().abs()
    x = nn.functional.conv2d(x, w1) * scale[:, None, None] + shift[:, None, None]
    return float((w3 @ (w2 @ x.mean((2, 3)).flatten())).sum())


def test_by_hand() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -2.0], [-3.0, 4.0]]))
        model[2].weight.copy_(torch.tensor([[-5.0, 0.5]]))
    scores = synflow(model, (2,))
    assert scores["0.weight"].tolist() == [[5.0, 10.0], [1.5, 2.0]]
    assert scores["2.weight"].tolist() == [[15.0, 3.5]]
    impcore.prune_global(model, count=2, score="synflow", data=torch.rand(7, 2))
    assert model[0].weight.tolist() == [[1.0, -2.0], [0.0, 0.0]]


def test_it_is_the_flow_lost_without_the_weight() -> None:
    model = network()
    whole, scores = flow(model), synflow(model, (2, 3, 3))
    for name, score in scores.items():
        weight = model.get_parameter(name)
        flat = weight.detach().view(-1)
        for i, value in enumerate(flat.tolist()):
            flat[i] = 0
            assert score.flatten()[i].item() == pytest.approx(whole - flow(model), rel=1e-9)
            flat[i] = value
    assert scores["6.weight"].sum().item() == pytest.approx(whole)  # Theorem 2: conservation
    assert scores["8.weight"].sum().item() == pytest.approx(whole)


def test_a_deep_network_does_not_overflow_and_needs_many_rounds() -> None:
    model = nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in range(40)))
    with torch.no_grad():
        for layer in model:
            layer.weight.mul_(1e4)
    scores = synflow(model, (6,))
    assert max(float(score.max()) for score in scores.values()) > torch.finfo(torch.float32).max
    masks = impcore.Masks(model)
    for _ in range(30):
        impcore.prune_global(model, 0.05, score="synflow", data=(6,), min_keep=1)
    assert min(int(mask.sum()) for mask in masks.values()) >= 1


def test_tied_weights_flow_twice() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    w = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad((w @ w @ torch.ones(2, dtype=torch.float64)).sum(), w)
    assert torch.equal(synflow(model, (2,))["0.weight"], w.detach() * gradient)


class Dictionary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.fc(x)}


class Tokens(nn.Module):
    """Sums of embedded tokens, if it is given any, and of their embedded positions."""

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.tokens = nn.Embedding(5, 3) if tokens else nn.Linear(1, 3)
        self.positions, self.head = nn.Embedding(4, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.tokens(x) + self.positions(torch.arange(x.shape[1]))).sum(1)


def test_an_input_is_not_looked_up_but_integers_of_the_models_own_are() -> None:
    model = Tokens(tokens=True)
    for data in ((4,), torch.zeros(1, 4, dtype=torch.int64)):
        with pytest.raises(TypeError, match="which the embedding tokens cannot look up: score"):
            synflow(model, data)
    assert model(torch.zeros(1, 4, dtype=torch.int64)).shape == (1, 2)
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert synflow(Tokens(tokens=False), (4, 1))["head.weight"].all()


@pytest.mark.parametrize(
    ("model", "data", "phrase"),
    [
        (nn.Linear(2, 2), "no shape", "not str"),
        (nn.Linear(2, 2), [torch.ones(1, 2)], "not list"),
        (nn.Linear(2, 2), 2, "not int"),
        (nn.Linear(2, 2), (-2,), "not tuple"),
        (nn.Linear(1, 2), (True,), "not tuple"),
        (Dictionary(), (2,), "returns a tensor, not <class 'dict'>"),
    ],
)
def test_what_it_cannot_score_is_refused(model: nn.Module, data: object, phrase: str) -> None:
    with pytest.raises(TypeError, match=phrase):
        impcore.prune_global(model, 0.5, score="synflow", data=data)
    assert impcore.masks_of(model) is None


def test_a_batch_stands_for_its_shape_and_an_unused_layer_has_no_flow() -> None:
    model = net()
    model.unused = nn.Linear(3, 3)
    found = synflow(model, torch.full((4, 3, 5, 5), torch.nan))
    wanted = synflow(model, (3, 5, 5))
    assert all(torch.equal(found[name], score) for name, score in wanted.items())
    numbers = synflow(model, tuple(np.array([3, 5, 5])))
    assert all(torch.equal(numbers[name], score) for name, score in wanted.items())
    assert not wanted["unused.weight"].any()


class Signed(nn.Module):
    """A layer whose output a buffer of both signs scales."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.register_buffer("scale", torch.tensor([-3.0, 2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * self.scale


def test_buffers_count_by_their_size_and_a_frozen_layer_is_scored() -> None:
    model = Signed()
    impcore.Masks(model)
    model.requires_grad_(False)
    expected = model.fc.weight.double().abs() * torch.tensor([[3.0], [2.0]])
    torch.testing.assert_close(synflow(model, (2,))["fc.weight"], expected)
