"""Models, weights and references that the library's tests share."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from hypothesis import strategies as st
from torch import nn

import impcore

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
INTEGERS = {2: torch.int16, 4: torch.int32}


class Net(nn.Module):
    """Convolutions and Linear layers between parameters that must never be pruned."""

    def __init__(self, width: int = 6, kernel: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 5, 1, bias=False)
        self.fc = nn.Linear(5, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv1(x)))
        return self.fc(torch.relu(self.conv2(x)).mean((2, 3)))


PRUNABLE = ["conv1.weight", "conv2.weight", "fc.weight"]


def net(seed: int = 0, **kwargs: int) -> Net:
    torch.manual_seed(seed)
    return Net(**kwargs)


def backward(model: nn.Module, seed: int = 0) -> None:
    """Fills the gradients from one batch."""
    dtype = next(model.parameters()).dtype
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(seed)).to(dtype)
    model(x).square().sum().backward()


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bit patterns, so that -0, NaN payloads and subnormals compare exactly."""
    return tensor.detach().contiguous().view(INTEGERS[tensor.element_size()]).clone()


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: bits(p) for name, p in model.named_parameters()}


def same_bits(model: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(bits(p), before[name]) for name, p in model.named_parameters())


def stored(tensor: torch.Tensor, like: torch.Tensor) -> np.ndarray:
    """The elements of `tensor` in the storage order of `like`."""
    ordered = torch.empty_strided(like.shape, like.stride(), dtype=tensor.dtype).copy_(tensor)
    flat = ordered.as_strided((ordered.numel(),), (1,))
    return (flat.double() if flat.is_floating_point() else flat).numpy().copy()


def smallest(
    weights: Iterable[torch.Tensor], masks: Iterable[torch.Tensor], k: int
) -> list[np.ndarray]:
    """Brute force: the masks, in storage order, after the k smallest alive weights are gone."""
    weights, masks = list(weights), list(masks)
    after = [stored(m, w) for m, w in zip(masks, weights, strict=True)]
    magnitudes = [np.abs(stored(w.detach(), w)) for w in weights]
    alive = [np.flatnonzero(m) for m in after]
    flat = np.concatenate([x[a] for x, a in zip(magnitudes, alive, strict=True)])
    gone = np.zeros(flat.size, dtype=bool)
    gone[np.argsort(flat, kind="stable")[:k]] = True
    start = 0
    for mask, a in zip(after, alive, strict=True):
        mask[a] = ~gone[start : start + a.size]
        start += a.size
    return after


def regrown(masks: dict[str, torch.Tensor]) -> int:
    """How many pruned weights are anything but +0, by their bits."""
    named = zip(masks.names, masks.parameters, strict=True)
    return sum(int((bits(p)[~masks[name].contiguous()] != 0).sum()) for name, p in named)


def fill(model: nn.Module, seed: int, kind: str) -> None:
    """Random weights of a kind: few distinct values make ties."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if kind == "ties":
                values = torch.randint(-2, 3, p.shape, generator=rng) * 0.5
            elif kind == "equal":
                values = torch.full(p.shape, 0.25)
            elif kind == "zeros":
                values = torch.where(torch.rand(p.shape, generator=rng) < 0.5, -0.0, 0.0)
            elif kind == "tiny":
                values = torch.randn(p.shape, generator=rng) * 1e-41
            else:
                values = torch.randn(p.shape, generator=rng)
            p.copy_(values.to(p.dtype))


KINDS = st.sampled_from(["normal", "ties", "equal", "zeros", "tiny"])


@st.composite
def nets(draw: st.DrawFn) -> nn.Module:
    """A Net in any dtype and layout, its weights of any kind."""
    model = Net(draw(st.integers(1, 9)), draw(st.sampled_from([1, 3])))
    model.to(draw(st.sampled_from(DTYPES)))
    fill(model, draw(st.integers(0, 2**32)), draw(KINDS))
    layout = draw(st.sampled_from(["contiguous", "channels_last", "transposed"]))
    if layout == "channels_last":
        model.to(memory_format=torch.channels_last)
    elif layout == "transposed":
        for p in (model.conv1.weight, model.fc.weight):
            order = draw(st.permutations(range(p.dim())))
            back = [order.index(i) for i in range(p.dim())]
            p.data = p.data.permute(order).contiguous().permute(back)
    return model


def random_masks(model: nn.Module, seed: int, density: float = 0.5) -> impcore.Masks:
    """New masks of the model, each weight alive with this probability."""
    masks = impcore.Masks(model)
    rng = torch.Generator().manual_seed(seed)
    for name, p in zip(masks.names, masks.parameters, strict=True):
        masks[name] = torch.rand(p.shape, generator=rng) < density
    return masks
