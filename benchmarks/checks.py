"""What must be right before anything is timed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from comparison import WrongError
from places import Place
from subjects import Subject

import impcore
from impcore import ops

SORTED_UP_TO = 10**8  # weights: beyond, a stable sort would take minutes, or the memory


def right_ones(
    place: Place, subjects: Sequence[Subject], dense: Sequence[torch.Tensor], rate: float
) -> list[Subject]:
    """The subjects whose backend prunes `dense` exactly; on the host it must.

    Raises:
        WrongError: a mask is not what a stable sort gives, or for the largest networks not a
            threshold's; or backends differ.
    """
    first: list[torch.Tensor] = []

    def check(subject: Subject) -> None:
        torch._foreach_copy_(subject.weights, list(dense))
        with place.under(subject.label):
            masks = impcore.prune_global(subject.model, rate=rate)
            right = _by_sort if masks.total <= SORTED_UP_TO else _by_threshold
            wrong = not right(subject, dense, rate)
        words = masks.words.clone()
        subject.reset()
        if wrong or (first and not torch.equal(words, first[0])):
            raise WrongError(f"{subject.label}: prune_global is wrong")
        first[:] = [words]

    found = place.usable(subjects, check)
    torch._foreach_copy_(subjects[0].weights, list(dense))
    return found


def _by_sort(subject: Subject, dense: Sequence[torch.Tensor], rate: float) -> bool:
    """Whether the mask is that of a stable sort by magnitude, bit for bit."""
    keys = torch.cat([w.flatten().abs().float() for w in dense])
    alive = torch.ones(keys.numel(), dtype=torch.bool, device=keys.device)
    alive[torch.sort(keys, stable=True).indices[: round(rate * keys.numel())]] = False
    plan = subject.masks.plan
    expected = torch.empty_like(subject.masks.words)
    for i, part in enumerate(alive.split([w.numel() for w in dense])):
        expected[plan.spans[i]] = ops.bits.pack(part.clone())  # aligned
    return torch.equal(subject.masks.words, expected)


def _by_threshold(subject: Subject, dense: Sequence[torch.Tensor], rate: float) -> bool:
    """Whether the number is exact, and no pruned magnitude is above a kept one."""
    masks = subject.masks
    pruned, kept = [], []
    for i, weight in enumerate(dense):
        alive, magnitudes = masks.stored(i), weight.flatten().abs()
        kept.append(torch.where(alive, magnitudes, torch.inf).min())
        pruned.append(torch.where(alive, -1.0, magnitudes).max())
    exact = masks.remaining == masks.total - round(rate * masks.total)
    return exact and bool(torch.stack(pruned).max() <= torch.stack(kept).min())
