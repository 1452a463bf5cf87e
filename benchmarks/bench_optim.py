"""The masked optimisers' steps against torch.optim's fused and foreach ones, dense and masked.

    python benchmarks/bench_optim.py                  ResNet-50 and BERT-base, two minutes
    python benchmarks/bench_optim.py --quick          ResNet-20, seconds
    python benchmarks/bench_optim.py --device cuda    ResNet-50 to 7B weights, CUDA and Triton

Checked first against torch.optim. All contenders step the same weights, gradients and states. The
floor reads the gradients and reads and writes weights and states: a bare loop on the CPU, the bytes
at the rate of a large copy on a GPU. Where nearly all is dead, a step can undercut it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import harness
import shapes
import torch
from comparison import Floor, Report, WrongError
from floors import Floors
from places import Place
from subjects import Subject, prune_all
from timing import Case, Run
from torch import nn

import impcore

DENSITIES = (1.0, 0.5, 0.1, 0.02)
FLOATS_UP_TO = 2 * 10**9  # weights: beyond, masks in float32 do not fit beside AdamW's states


@dataclass(frozen=True)
class Kind:
    """An optimiser, PyTorch's own, options for both, and the states that each weight has."""

    ours: Any
    theirs: Any
    options: dict[str, Any]
    states: tuple[str, ...]


KINDS = (
    Kind(
        impcore.MaskedSGD,
        torch.optim.SGD,
        {"lr": 1e-4, "momentum": 0.9, "weight_decay": 1e-4},
        ("momentum_buffer",),
    ),
    Kind(
        impcore.MaskedAdamW,
        torch.optim.AdamW,
        {"lr": 1e-4, "weight_decay": 1e-2},
        ("exp_avg", "exp_avg_sq"),
    ),
)


def give_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Normal gradients, small beside the weights."""
    generator = torch.Generator(parameters[0].device).manual_seed(1)
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator, device=p.device).mul_(1e-3)


def twins(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Parameters in the same memory that no Masks know."""
    out = [nn.Parameter(p.detach()) for p in parameters]
    for twin, parameter in zip(out, parameters, strict=True):
        twin.grad = parameter.grad
    return out


def check(place: Place, kind: Kind, label: str) -> None:
    """Raises WrongError unless three steps are torch.optim's, and +0 where the mask is 0."""
    subject = Subject(place, label, shapes.weights("resnet20", device=place.device))
    dense = shapes.model("resnet20", device=place.device)
    subject.prune_to(0.5)
    give_gradients(list(subject.model.parameters()))
    give_gradients(list(dense.parameters()))
    ours = kind.ours(subject.model.parameters(), masks=subject.masks, **kind.options)
    theirs = kind.theirs(dense.parameters(), **kind.options)
    with place.under(label):
        for optimizer in (ours, theirs) * 3:
            optimizer.step()
        masks = list(subject.masks.values())
    for mask, mine, other in zip(masks, subject.weights, dense.parameters(), strict=True):
        same = torch.allclose(mine[mask], other[mask], rtol=1e-5, atol=1e-7)
        if not same or mine[~mask].any():
            raise WrongError(f"{label}: {kind.ours.__name__} is not torch.optim's")


@dataclass
class States:
    """The states of one optimiser, which every contender shares."""

    kind: Kind
    tensors: list[list[torch.Tensor]]  # a list a kind of state

    @staticmethod
    def of(kind: Kind, weights: Sequence[torch.Tensor]) -> States:
        """Zeros."""
        return States(kind, [[torch.zeros_like(w) for w in weights] for _ in kind.states])

    def give(self, optimizer: torch.optim.Optimizer) -> None:
        """Lets an optimiser go on with them, as if it had taken one step."""
        parameters = optimizer.param_groups[0]["params"]
        for i, parameter in enumerate(parameters):
            state = dict(zip(self.kind.states, (row[i] for row in self.tensors), strict=True))
            if self.kind.theirs is torch.optim.AdamW:
                state["step"] = torch.ones((), dtype=torch.float32, device=parameter.device)
            optimizer.state[parameter].update(state)


def compare(
    place: Place, name: str, kind: Kind, subjects: Sequence[Subject], states: States, repeats: int
) -> Report:
    """Times one step of a network's weights."""
    masks, weights = subjects[0].masks, subjects[0].weights
    parameters = list(subjects[0].model.parameters())
    ours: list[Case] = []
    for subject in subjects:
        own = list(subject.model.parameters())
        for mine, first in zip(own, parameters, strict=True):
            mine.grad = first.grad
        optimizer = kind.ours(own, masks=subject.masks, **kind.options)
        states.give(optimizer)
        ours += place.ours(subject.label, optimizer.step)
    gradients = [p.grad for p in parameters if p.grad is not None]
    theirs, left_out = _opponents(place, kind, twins(parameters), masks, states)
    n = masks.total
    floor = Floor(
        n * (12.125 + 8 * len(kind.states)),
        "copy",
        lambda: _bare_step(gradients, [weights, *states.tensors]),
    )
    op = f"{kind.ours.__name__} {name}"
    density = round(masks.density, 4)
    found = place.compare(op, n, density, [*ours, *theirs], floor, repeats, left_out=left_out)
    return Report([found])


def _bare_step(reads: list[torch.Tensor], updates: list[list[torch.Tensor]]) -> Run:
    gradients, rows = Floors(reads), [Floors(row) for row in updates]
    return lambda: gradients.read_and_update(rows)


def _opponents(
    place: Place, kind: Kind, parameters: list[nn.Parameter], masks: impcore.Masks, states: States
) -> tuple[list[Case], dict[str, str]]:
    """PyTorch's steps, and those that a user lets a multiplication by the masks follow.

    Bool masks take a byte a weight, float masks four and are faster. Only "on states too" leaves
    the states at 0, as ours does.
    """
    # PyTorch refuses to capture AdamW without it, and keeps the step count on the device with it.
    adamw = kind.theirs is torch.optim.AdamW
    options = {**kind.options, **({"capturable": True} if adamw and place.kind == "cuda" else {})}
    fused = kind.theirs(parameters, fused=True, **options)
    foreach = kind.theirs(parameters, foreach=True, **options)
    states.give(fused)
    states.give(foreach)
    weights = [p.detach() for p in parameters]
    bools = list(masks.values())

    def then(*products: tuple[list[torch.Tensor], list[torch.Tensor]]) -> Callable[[], None]:
        def run() -> None:
            fused.step()
            for values, factors in products:
                torch._foreach_mul_(values, factors)

        return run

    runs: dict[str, Run] = {
        "torch fused, dense": fused.step,
        "torch fused, then bool masks": then((weights, bools)),
    }
    large = ("torch fused, then float masks", "the same, on states too", "torch foreach, dense")
    if masks.total > FLOATS_UP_TO:
        modes = ("graph", "eager")
        why = "does not fit beside weights, gradients and states"
        gone = {f"{name}, {mode}": why for name in large for mode in modes}
        return [c for k, run in runs.items() for c in place.theirs(k, run)], gone
    floats = [mask.float() for mask in bools]
    every = [value for row in states.tensors for value in row]
    on_all = then((weights, floats), (every, floats * len(states.tensors)))
    runs |= dict(zip(large, (then((weights, floats)), on_all, foreach.step), strict=True))
    return [c for k, run in runs.items() for c in place.theirs(k, run)], {}


def network(place: Place, name: str, repeats: int) -> Iterator[Report]:
    """One network, by both optimisers, dense and at what later rounds leave."""
    for kind in KINDS:
        labels = place.usable(list(place.backends), partial(check, place, kind))
        weights = shapes.weights(name, device=place.device)
        subjects = [Subject(place, label, weights) for label in labels]
        give_gradients(list(subjects[0].model.parameters()))
        states = States.of(kind, weights)
        for density in DENSITIES:
            prune_all(subjects, density)
            yield compare(place, name, kind, subjects, states, repeats)
        del weights, subjects, states
        place.free()


def jobs(place: Place, arguments: argparse.Namespace) -> list[harness.Job]:
    """A network each."""
    if arguments.quick:
        names = {"resnet20": 101}
    elif place.kind == "cpu":
        names = {"resnet50": 15, "bert-base": 15}
    else:
        names = {"resnet50": 15, "bert-base": 15, "llama-1b": 9, "llama-7b": 5}
    return [
        harness.Job(name, partial(network, place, name, repeats)) for name, repeats in names.items()
    ]


SUITE = harness.Suite("optim", __doc__, jobs)

if __name__ == "__main__":
    sys.exit(harness.main(SUITE))
