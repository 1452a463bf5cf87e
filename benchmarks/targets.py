"""The project's targets, each a ratio of two times of one comparison, or of two sizes.

A ratio holds on whatever machine it was measured; a time does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from comparison import Comparison


@dataclass(frozen=True)
class Target:
    """A measured ratio and its limit; `value` is None where it could not be measured."""

    what: str
    value: float | None
    limit: float
    at_least: bool
    why: str = ""

    @property
    def passed(self) -> bool | None:
        """Whether the limit holds; None if nothing was measured."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        why = {"why": self.why} if self.why else {}
        return {
            "what": self.what,
            "value": self.value,
            "limit": self.limit,
            "at_least": self.at_least,
            "passed": self.passed,
            **why,
        }


@dataclass(frozen=True)
class Rule:
    """What a comparison's times are held to: of / to, at least or at most a limit.

    Attributes:
        op: fnmatch pattern on the comparison's op.
        what: how the ratio is called.
        of, to: contenders; of several the fastest counts.
        at_least, at_most: the limit; one of them.
        densities: at which the rule holds; None: at all.
        above: weights that a network needs for the rule to hold: memory beyond the caches.
    """

    op: str
    what: str
    of: tuple[str, ...]
    to: tuple[str, ...]
    at_least: float | None = None
    at_most: float | None = None
    densities: tuple[float, ...] | None = None
    above: int = 10**7

    def applies(self, comparison: Comparison) -> bool:
        """Whether the rule is about this comparison."""
        return (
            fnmatchcase(comparison.op, self.op)
            and comparison.n >= self.above
            and (self.densities is None or comparison.density in self.densities)
        )

    def judge(self, comparison: Comparison) -> Target:
        """The ratio that the comparison found."""
        at_least = self.at_least is not None
        limit = self.at_least if self.at_least is not None else self.at_most
        assert limit is not None
        what = f"{comparison.op} at {comparison.density:.0%}: {self.what}"
        if comparison.op.startswith("sweep-"):
            what = f"{comparison.op}, {comparison.n:,} weights: {self.what}"
        missing = [names for names in (self.of, self.to) if not _fastest(comparison, names)]
        if missing:
            reasons = [f"{n}: {comparison.left_out.get(n, 'not timed')}" for n in missing[0]]
            return Target(what, None, limit, at_least, "; ".join(reasons))
        value = _fastest(comparison, self.of) / _fastest(comparison, self.to)
        return Target(what, value, limit, at_least)


def _fastest(comparison: Comparison, names: Sequence[str]) -> float:
    return min((comparison.ms[name] for name in names if name in comparison.ms), default=0.0)


def judge(rules: Sequence[Rule], comparisons: Iterable[Comparison]) -> list[Target]:
    """Every rule on every comparison that it is about."""
    found = list(comparisons)
    return [rule.judge(c) for rule in rules for c in found if rule.applies(c)]


def growth(comparisons: Iterable[Comparison]) -> list[Target]:
    """Whether a sweep's cost is linear: times the floor at each size, to that at the size before.

    The floor is linear but for the caches, which hold fewer weights than memory does, and give them
    faster.
    """
    swept: dict[str, dict[int, float]] = {}
    for comparison in comparisons:
        if comparison.op.startswith("sweep-") and comparison.floor in comparison.ms:
            ratio = comparison.ms[comparison.subject] / comparison.ms[comparison.floor]
            swept.setdefault(comparison.op, {})[comparison.n] = ratio
    return [
        Target(f"{op}, {n:,} weights: times the floor, to that of {before:,}",
               times[n] / times[before], LINEAR, at_least=False)
        for op, times in swept.items() for before, n in pairwise(sorted(times))
    ]  # fmt: skip


LINEAR = 1.25
"""How far an op may fall behind its floor from one size of a sweep to the next."""

DENSE = (1.0,)
FLATTENING = ("torch.topk", "torch.topk, sorted", "torch.kthvalue", "torch.sort", "numpy.partition")

CPU = (
    Rule("select *", "times the floor", ("impcore",), ("floor",), at_most=1.5, densities=DENSE),
    Rule("prune *", "times the floor", ("impcore",), ("floor",), at_most=1.5, densities=DENSE),
    Rule("prune *", "torch.nn.utils.prune to ours", ("torch.nn.utils.prune",), ("impcore",),
         at_least=100, densities=DENSE),
    Rule("prune *", "the fastest of torch and NumPy to ours", FLATTENING, ("impcore",),
         at_least=5, densities=DENSE),
    Rule("adversarial-*", "times the floor", ("impcore",), ("floor",), at_most=4),
    Rule("sweep-*", "times the floor", ("impcore",), ("floor",), at_most=1.5, above=10**8),
    Rule("Masked*", "to torch fused, dense", ("impcore",), ("torch fused, dense",), at_most=1.05),
    Rule("Masked*", "torch fused, then bool masks, to ours", ("torch fused, then bool masks",),
         ("impcore",), at_least=2),
    Rule("block_l1 *", "times the floor", ("impcore",), ("floor",), at_most=1.1),
    Rule("inside-prune *", "with flow= to without", ("impcore, flow=",), ("impcore",),
         at_most=1.03),
)  # fmt: skip
"""Targets on two CPU threads."""

GRAPH = ("cuda, graph",)
CUDA = (
    Rule("select resnet50", "of the copy rate", ("copy rate",), GRAPH, at_least=0.5,
         densities=DENSE),
    Rule("select bert-base", "of the copy rate", ("copy rate",), GRAPH, at_least=0.8,
         densities=DENSE),
    Rule("select llama-1b", "of the copy rate", ("copy rate",), GRAPH, at_least=0.9,
         densities=DENSE),
    Rule("prune bert-base", "of the copy rate", ("copy rate",), GRAPH, at_least=0.75,
         densities=DENSE),
    Rule("prune *", "torch.nn.utils.prune to ours, both eager", ("torch.nn.utils.prune",),
         ("cuda, eager",), at_least=50, densities=DENSE),
    Rule("prune *", "the fastest of torch.topk, sort and kthvalue to ours, both eager", FLATTENING,
         ("cuda, eager",), at_least=10, densities=DENSE),
    Rule("select *", "CUB DeviceTopK on flat keys to ours", ("CUB DeviceTopK",), GRAPH,
         at_least=2, densities=DENSE),
    Rule("MaskedSGD *", "to torch fused, dense", GRAPH, ("torch fused, dense, graph",),
         at_most=1.03),
    Rule("MaskedSGD *", "torch fused, then bool masks, to ours",
         ("torch fused, then bool masks, graph",), GRAPH, at_least=1.3),
    Rule("block_l1 *", "of the read rate", ("read rate",), GRAPH, at_least=0.9),
    Rule("inside-prune *", "with flow= to without", ("cuda, flow=, eager",), ("cuda, eager",),
         at_most=1.03),
    *(
        Rule(f"{op} *", "Triton's speed to CUDA's", GRAPH, ("triton, graph",), at_least=0.85,
             above=10**8)
        for op in ("select", "prune", "MaskedSGD", "MaskedAdamW", "block_l1")
    ),
)  # fmt: skip
"""Targets on an H200. Shares of a rate are of replayed graphs: the device's own time."""
WORKSPACE = {"cpu": 0.03, "cuda": 0.04}
"""Memory of a prune beside the two mask arenas, to that of float32 weights; at most."""
