"""Prints how far a select and a commit raise the resident memory, as a share of the weights.

A program of its own (`python -m ops.peak`, in tests/), because memory that other tests freed would
hide what is allocated here. Linux only.
"""

from __future__ import annotations

from pathlib import Path

import torch

from impcore import ops

# ResNet-50: the stem, [blocks, inner width, outer width] a stage, the classifier.
STAGES = [(3, 64, 256), (4, 128, 512), (6, 256, 1024), (3, 512, 2048)]


def resnet50() -> list[int]:
    """The sizes of its convolutions and its classifier: 25.5 million weights."""
    sizes, width = [64 * 3 * 49], 64
    for blocks, inner, outer in STAGES:
        sizes.append(width * outer)  # the projection
        for _ in range(blocks):
            sizes += [width * inner, 9 * inner * inner, inner * outer]
            width = outer
    return [*sizes, 2048 * 1000]


def bert_base() -> list[int]:
    """The sizes of its embeddings and linear layers: 109 million weights."""
    layer = [768 * 768] * 4 + [768 * 3072] * 2
    return [30522 * 768, 512 * 768, 2 * 768, *layer * 12, 768 * 768]


def status(field: str) -> int:
    """A size from /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def main() -> None:
    """Weights first; all that masks need comes after the watermark is reset."""
    sizes = resnet50()
    weights = [torch.randn(n) for n in sizes]
    small = ops.Plan.make([100_000])  # code, threads and libraries are not masks: load them first
    prune(small, [weights[-1][:100_000].clone()])
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    prune(ops.Plan.make(sizes), weights)
    print((status("VmHWM") - before) / (4 * sum(sizes)))


def prune(plan: ops.Plan, weights: list[torch.Tensor]) -> None:
    """20 % of all weights, with every byte of the scratch memory touched."""
    mask = torch.full((plan.total_words,), -1, dtype=torch.int32)
    for start, numel in zip(plan.words, plan.numels, strict=True):
        if numel % 32:
            mask[start + numel // 32] = (1 << numel % 32) - 1
    mask_out, workspace = torch.zeros_like(mask), ops.workspace(plan).zero_()
    selection = ops.topk_mask(plan, weights, mask, mask_out, plan.total // 5, workspace)
    ops.commit(plan, weights, mask, mask_out, selection.status)
    assert int(ops.bits.count(mask)) == plan.total - plan.total // 5


if __name__ == "__main__":
    main()
