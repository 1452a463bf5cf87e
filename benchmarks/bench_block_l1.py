"""The block sums of the magnitude flow against the ways to get them from torch.

    python benchmarks/bench_block_l1.py                  ResNet-50 and BERT-base
    python benchmarks/bench_block_l1.py --quick          ResNet-20, seconds
    python benchmarks/bench_block_l1.py --device cuda    ResNet-50 to 7B weights, CUDA and Triton

Checked first: prunes against a stable sort, sums against those in float64. The floor is a bare read
of the weights, on a GPU the bytes at the rate of a large read. "inside-prune" is what recording the
flow adds to a prune of 20 %: two prunes, one with flow=.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial

import harness
import shapes
import torch
from checks import right_ones
from comparison import Floor, Report, WrongError
from floors import Floors
from places import Place
from subjects import Subject, prune_all
from timing import Case

import impcore
from impcore import ops

DENSITIES = (1.0, 0.5, 0.1, 0.02)
RATE = 0.2


def check(place: Place, subject: Subject) -> None:
    """Raises WrongError unless the sums are those of float64."""
    with place.under(subject.label):
        got = sums(subject)[0]
    for i, weight in enumerate(subject.weights):
        expected = weight.abs().sum(dtype=torch.float64)
        if not torch.allclose(got[i], expected, rtol=1e-12, atol=0):
            raise WrongError(f"{subject.label}: block_l1 is not the float64 sum")


def sums(subject: Subject) -> torch.Tensor:
    """The op itself."""
    return ops.block_l1(subject.masks.plan, subject.weights, subject.masks.words)


def alone(place: Place, name: str, subjects: Sequence[Subject], repeats: int) -> Report:
    """Times the sums of |m theta| of each tensor of a network."""
    subjects = place.usable(subjects, partial(check, place))
    weights, masks = subjects[0].weights, subjects[0].masks
    floats = [mask.float() for mask in masks.values()]

    def product() -> list[torch.Tensor]:
        return [(m * w).abs().sum() for m, w in zip(floats, weights, strict=True)]

    def norm() -> list[torch.Tensor]:
        return [torch.linalg.vector_norm(w, 1) for w in weights]

    cases = [c for s in subjects for c in place.ours(s.label, partial(sums, s))]
    if place.kind == "cpu":
        cases.append(Case("read, prefetching", Floors(weights).read_ahead))
    cases += place.theirs("(m * w).abs().sum()", product)
    cases += place.theirs("vector_norm(w, 1), unmasked", norm)
    n = masks.total
    floor = Floor(n * 4.125, "read", lambda: Floors(weights).read)
    density = round(masks.density, 4)
    return Report([place.compare(f"block_l1 {name}", n, density, cases, floor, repeats)])


def inside(place: Place, name: str, subjects: Sequence[Subject], repeats: int) -> Report:
    """Times a prune with and without a flow that records it."""
    cases = [case for subject in subjects for case in _prunes(place, subject)]
    n = subjects[0].masks.total
    weights = subjects[0].weights
    floor = Floor(n * 12.25, "copy", lambda: Floors(weights).read_then_update)
    found = place.compare(f"inside-prune {name}", n, 1.0, cases, floor, repeats)
    for subject in subjects:
        subject.reset()
    return Report([found])


def _prunes(place: Place, subject: Subject) -> list[Case]:
    """Prunes as users call them: with a flow, and without."""
    flow = impcore.Flow(subject.masks)
    sync = place.kind == "cpu"

    def prune(with_flow: bool) -> None:
        with place.under(subject.label):
            chosen = flow if with_flow else None
            impcore.prune_global(subject.model, RATE, flow=chosen, sync=sync)

    suffix = "" if sync else ", eager"
    names = {f"{subject.label}, flow={suffix}": True, f"{subject.label}{suffix}": False}
    return [Case(k, partial(prune, with_flow), subject.reset) for k, with_flow in names.items()]


def network(place: Place, name: str, repeats: int) -> Iterator[Report]:
    """The sums alone at several densities, and inside prune_global."""
    weights = shapes.weights(name, device=place.device)
    pristine = [w.clone() for w in weights]
    made = [Subject(place, label, weights) for label in place.backends]
    subjects = right_ones(place, made, pristine, RATE)
    for subject in subjects:
        subject.remember(pristine)
    yield inside(place, name, subjects, repeats)
    for density in DENSITIES:
        prune_all(subjects, density)
        yield alone(place, name, subjects, repeats)


def jobs(place: Place, arguments: argparse.Namespace) -> list[harness.Job]:
    """A network each."""
    if arguments.quick:
        names = {"resnet20": 21}
    elif place.kind == "cpu":
        names = {"resnet50": 21, "bert-base": 21}
    else:
        names = {"resnet50": 21, "bert-base": 21, "llama-1b": 9, "llama-7b": 5}
    return [
        harness.Job(name, partial(network, place, name, repeats)) for name, repeats in names.items()
    ]


SUITE = harness.Suite("block_l1", __doc__, jobs)

if __name__ == "__main__":
    sys.exit(harness.main(SUITE))
