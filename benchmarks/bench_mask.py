"""Exact global pruning against everything a user could pick instead.

    python benchmarks/bench_mask.py                  ResNet-50 and BERT-base, two minutes
    python benchmarks/bench_mask.py --quick          ResNet-20, seconds
    python benchmarks/bench_mask.py --sweep          1e5 to 1e9 weights (9 GB of memory)
    python benchmarks/bench_mask.py --sizes 1e6 1e8  these alone
    python benchmarks/bench_mask.py --device cuda    ResNet-50 to 7B weights, CUDA and Triton

Correctness is checked first. "select" finds the new masks, "prune" is all of prune_global with 20 %
of the remaining weights. On the CPU their floors are a bare read of the weights with a write of one
bit for each, and a bare read followed by a bare read-modify-write; on a GPU the bytes of select
(4.25 a float32 weight) and of select and commit (12.375) at the rate of a large copy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial

import harness
import inputs
import opponents
import shapes
import torch
from checks import right_ones
from comparison import Floor, Report
from floors import Floors
from places import Place
from subjects import Subject
from targets import WORKSPACE, Target
from timing import Case

import impcore

RATE = 0.2
DENSITIES = (1.0, 0.5, 0.1, 0.02)
# Weights: fixed tables weigh more in smaller networks, and so does what else a process allocates.
WORKSPACE_FROM = {"cpu": 10**6, "cuda": 10**7}
PEAK_FROM = 2 * 10**7
MANY_FROM = 10**7  # for thousands of tensors, each of which takes some bytes
OPPONENTS_UP_TO = 2 * 10**9  # weights: beyond, a flat copy and its sort do not fit beside them


def jobs(place: Place, arguments: argparse.Namespace) -> list[harness.Job]:
    """A network each; the adversarial inputs; or the sizes of a sweep."""
    if arguments.sizes:
        return [
            harness.Job(f"{size:,} weights", partial(sweep, place, size))
            for size in arguments.sizes
        ]
    if arguments.quick:
        names = {"resnet20": 15}
    elif place.kind == "cpu":
        names = {"resnet50": 15, "bert-base": 15}
    else:
        names = {"resnet50": 15, "bert-base": 15, "llama-1b": 11, "llama-7b": 7}
    networks = [harness.Job(n, partial(network, place, n, r)) for n, r in names.items()]
    hardest = partial(adversarial, place, next(iter(names)), 15)
    return [*networks, harness.Job("adversarial", hardest)]


def network(place: Place, name: str, repeats: int) -> Iterator[Report]:
    """A network dense, and at what later rounds leave."""
    dense = shapes.weights(name, device=place.device)
    weights = [w.clone() for w in dense]
    n = sum(w.numel() for w in weights)
    subjects = right_ones(
        place, [Subject(place, label, weights) for label in place.backends], dense, RATE
    )
    yield Report(facts=[t for s in subjects for t in memory(place, s, name, n)])
    pristine = [w.clone() for w in dense]
    for density in DENSITIES:
        for subject in subjects:
            subject.prune_to(density, dense)
        for kept, weight in zip(pristine, weights, strict=True):
            kept.copy_(weight)
        for subject in subjects:
            subject.remember(pristine)
        rivals = rivals_of(place, subjects[0], density)
        yield compare(place, name, subjects, density, repeats, rivals)


def memory(place: Place, other: Subject, name: str, n: int) -> list[Target]:
    """What a first prune of a subject's weights needs beside the two mask arenas."""
    if n < WORKSPACE_FROM[place.kind]:
        return []
    subject = Subject(place, other.label, other.weights)
    arena = subject.masks.words.nbytes  # of two, one is there already
    with place.under(subject.label):
        peak = place.peak(lambda: subject.select_and_commit(round(RATE * n)))
        workspace = subject.masks.bound().workspace.nbytes
    subject.reset()
    limit = WORKSPACE[place.kind]
    what = f"memory {name}, {subject.label}"
    found = [Target(f"{what}: workspace to weights", workspace / (4 * n), limit, at_least=False)]
    if peak is not None and n >= PEAK_FROM:
        value = (peak - arena) / (4 * n)
        found.append(Target(f"{what}: peak beside the masks", value, limit, at_least=False))
    return found


def compare(
    place: Place,
    name: str,
    subjects: Sequence[Subject],
    density: float,
    repeats: int,
    rivals: tuple[dict[str, list[Case]], dict[str, str]] | None = None,
    prefix: str = "",
) -> Report:
    """Times selection and prune of 20 % of the remaining weights, each beside its floor."""
    masks, weights = subjects[0].masks, subjects[0].weights
    n, size = masks.total, weights[0].element_size()
    count = round(RATE * masks.remaining)
    theirs, left_out = rivals or ({}, {})
    extra = 0.375 if place.kind == "cuda" else 0.25
    floors = {
        "select": Floor(n * (size + 0.25), "copy", lambda: Floors(weights).read_and_write_bits),
        "prune": Floor(n * (3 * size + extra), "copy", lambda: Floors(weights).read_then_update),
    }
    dtype = str(weights[0].dtype).removeprefix("torch.")
    found = []
    for op, ours in (("select", _selects), ("prune", _prunes)):
        # Made only now: to capture a prune is to prune.
        cases = [c for subject in subjects for c in ours(place, subject, count)]
        cases += theirs.get(op, [])
        gone = {k: v for k, v in left_out.items() if (k == CUB) == (op == "select")}
        found.append(
            place.compare(
                f"{prefix}{op} {name}", n, density, cases, floors[op], repeats, dtype, gone
            )
        )
        for subject in subjects:
            subject.reset()
    return Report(found)


def _selects(place: Place, subject: Subject, count: int) -> list[Case]:
    cases = place.ours(subject.label, subject.selection(count))
    if place.kind == "cpu":
        cases.append(Case("read, prefetching", Floors(subject.weights).read_ahead))
    return cases


def _prunes(place: Place, subject: Subject, count: int) -> list[Case]:
    if place.kind == "cpu":
        return place.ours(
            subject.label, lambda: impcore.prune_global(subject.model, RATE), subject.reset
        )
    return place.ours(
        subject.label,
        lambda: subject.select_and_commit(count),
        subject.reset,
        eager=lambda: impcore.prune_global(subject.model, RATE, sync=False),
    )


CUB = "CUB DeviceTopK"


def rivals_of(
    place: Place, subject: Subject, density: float
) -> tuple[dict[str, list[Case]], dict[str, str]]:
    """The opponents of "select" and of "prune", and those that are left out, with the reason.

    They know no masks, so they compete where nothing is pruned yet.
    """
    if density != 1:
        return {}, {}
    weights, n = subject.weights, subject.masks.total
    count = round(RATE * n)
    functions = opponents.FUNCTIONS if place.kind == "cpu" else opponents.ON_GPU
    if n > OPPONENTS_UP_TO:
        why = f"a flat copy of {n:,} weights and its sort do not fit beside them"
        return {}, dict.fromkeys([*functions, "torch.nn.utils.prune", CUB], why)
    gone = {}
    if place.kind == "cuda" and n > opponents.FAST_UP_TO:
        functions = {k: f for k, f in functions.items() if k != opponents.KTHVALUE}
        gone = {opponents.KTHVALUE: "one block of threads reads all the weights again and again"}
    cases = opponents.cases(functions, subject, count, on_gpu=place.kind == "cuda")
    if place.kind == "cpu":
        return {"prune": cases}, {}
    case, why = opponents.cub_case(CUB, weights, count)
    gone |= {CUB: why} if why else {}
    return {"prune": cases, "select": [case] if case else []}, gone


def adversarial(place: Place, name: str, repeats: int) -> Iterator[Report]:
    """Inputs that sampling and bracketing find hardest, in a network's shapes."""
    for kind, make in inputs.ADVERSARIAL.items():
        dense = make(name, place.device)
        subjects = _subjects(place, dense)
        yield compare(place, kind, subjects, 1.0, repeats, prefix="adversarial-")


def sweep(place: Place, size: int) -> Iterator[Report]:
    """`size` weights in a few large tensors, and in thousands of small ones."""
    for layout, tensors in LAYOUTS.items():
        dense = inputs.split(size, tensors, place.device)
        subjects = _subjects(place, dense)
        if layout == "few" or size >= MANY_FROM:
            name = f"{layout}, {size:,}"
            yield Report(facts=[t for s in subjects for t in memory(place, s, name, size)])
            for subject in subjects:
                subject.reset()
        repeats = 7 if size > 10**8 else 15
        yield compare(place, layout, subjects, 1.0, repeats, prefix="sweep-")


def _subjects(place: Place, weights: Sequence[torch.Tensor]) -> list[Subject]:
    pristine = [w.clone() for w in weights]
    made = [Subject(place, label, weights) for label in place.backends]
    subjects = right_ones(place, made, pristine, RATE)
    for subject in subjects:
        subject.remember(pristine)
    return subjects


LAYOUTS = {"few": 4, "many": 4096}  # tensors
SIZES = (10**5, 10**6, 10**7, 10**8, 10**9)


def _size(text: str) -> int:
    value = float(text)
    if not 4096 <= value <= 10**10:
        raise argparse.ArgumentTypeError(f"{text} weights; give 4096 to 1e10")
    return round(value)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sweep's options."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--sizes", type=_size, nargs="+", metavar="N", help="numbers of weights")
    group.add_argument(
        "--sweep", dest="sizes", action="store_const", const=SIZES, help="1e5 to 1e9 weights"
    )


SUITE = harness.Suite(
    "mask",
    __doc__,
    jobs,
    add_arguments,
    name_of=lambda arguments: "sweep" if arguments.sizes else None,
)

if __name__ == "__main__":
    sys.exit(harness.main(SUITE))
