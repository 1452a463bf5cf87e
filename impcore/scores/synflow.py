"""SynFlow: the flow of synaptic strength through a weight (Tanaka et al., NeurIPS 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from impcore.integers import integer
from impcore.scope import EMBEDDINGS
from impcore.scores.gradients import targets, undisturbed
from impcore.unwrap import unwrap


def synflow(model: nn.Module, data: Tensor | Sequence[int]) -> dict[str, Tensor]:
    """|w| * dR/d|w| for R = sum of the linearised network's outputs: float64 by parameter name.

    Tanaka et al. 2020 ("Pruning neural networks without any data by iteratively conserving synaptic
    flow", Sec. 6, Algorithm 1): every parameter is replaced by its absolute value, the input is all
    ones, the network is in evaluation mode. Never negative. Meant to be pruned in many rounds (they
    take 100), a little each.

    BatchNorm's running means are taken as 0, so that the network stays linear when it has been
    trained; in a fresh one they are 0, as in the authors' code. In float64, because R grows
    exponentially with depth: a ResNet-56's overflows float32.

    Args:
        model: of Linear, convolution, pooling, ReLU and BatchNorm layers, from one input tensor to
            one output tensor; left as it was.
        data: a batch of inputs, of which only the shape is used, or the shape of one input.

    Raises:
        TypeError: `data` is neither, the model's output is not a tensor, or its input is looked up
            in an embedding.
    """
    model = unwrap(model)
    named = targets(model)
    device = next(iter(named.values())).device
    with undisturbed(model):
        state = _linearised(model)
        model.eval()
        ones = torch.ones((1, *_shape(data)), dtype=torch.float64, device=device)
        with _refusing_lookups(model):
            output = functional_call(model, state, (ones,))
        if not isinstance(output, Tensor):
            raise TypeError(f"synflow needs a model that returns a tensor, not {type(output)}")
        strengths = [state[name] for name in named]
        flows = torch.autograd.grad(
            output.sum(), strengths, allow_unused=True, materialize_grads=True
        )
    return {
        name: strength.detach() * flow
        for name, strength, flow in zip(named, strengths, flows, strict=True)
    }


@contextmanager
def _refusing_lookups(model: nn.Module) -> Iterator[None]:
    """An embedding raises TypeError where it is given what came from the ones, which is no index.

    One that looks up integers of the model's own, such as positions, is a constant.
    """

    def refuse(name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].is_floating_point():
            raise TypeError(
                f"synflow puts ones of float64 into the model, which the embedding {name} cannot "
                "look up: score a model of integer inputs otherwise"
            )

    embeddings = [(name, m) for name, m in model.named_modules() if isinstance(m, EMBEDDINGS)]
    hooks = [m.register_forward_pre_hook(partial(refuse, name)) for name, m in embeddings]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _linearised(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and floating buffers as absolute values in float64, running means as 0."""
    state = {
        name: p.detach().double().abs().requires_grad_() for name, p in model.named_parameters()
    }
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            state[name] = torch.zeros_like(buffer, dtype=torch.float64)
        elif buffer.is_floating_point():
            state[name] = buffer.detach().double().abs()
    return state


def _shape(data: Tensor | Sequence[int]) -> tuple[int, ...]:
    """The shape of one input."""
    if isinstance(data, Tensor):
        return tuple(data.shape[1:])
    if isinstance(data, Sequence):
        sizes = [integer(size, 0) for size in data]
        if None not in sizes:
            return tuple(sizes)  # type: ignore[arg-type]
    raise TypeError(
        f"synflow takes a batch of inputs or the shape of one, such as (3, 32, 32), as data=, not "
        f"{type(data).__name__}"
    )
