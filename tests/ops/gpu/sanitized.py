"""Small selections and steps over several blocks, as a program for compute-sanitizer.

    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck python -m ops.gpu.sanitized

(in tests/). Prints "done" at the end; that the results are right is checked elsewhere.
"""

from __future__ import annotations

import torch

from impcore import ops

SIZES = [70_000, 0, 1, 33, 9_000]


def main() -> None:
    """Every op in every dtype, with a bracket that holds and one that misses."""
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for bracket in (None, (0, 5), (0, 0x7FFFFFFF)):
            select(dtype, bracket)
        step(dtype)
    bools = torch.arange(10_001, device="cuda") % 3 == 0
    words = ops.bits.pack(bools)
    ops.bits.unpack(words, bools.numel())
    ops.bits.count(words)
    ops.bits.permute(words[:32], (32, 32), (32, 1), (1, 32))
    torch.cuda.synchronize()
    print("done")


def arena_of(plan: ops.Plan) -> torch.Tensor:
    """All weights alive."""
    arena = torch.full((plan.total_words,), -1, dtype=torch.int32)
    for word, numel in zip(plan.words, plan.numels, strict=True):
        if numel % 32:
            arena[word + numel // 32] = (1 << numel % 32) - 1
    return arena.cuda()


def select(dtype: torch.dtype, bracket: tuple[int, int] | None) -> None:
    """One selection of misaligned tensors, committed, rewound and measured."""
    weights = [torch.randn(n + 1, device="cuda").to(dtype)[1:] for n in SIZES]
    plan = ops.Plan.make(SIZES, [0, 0, 1, 1, 2])
    arena = arena_of(plan)
    scratch, workspace = torch.zeros_like(arena), ops.workspace(plan, "cuda").zero_()
    found = ops.topk_mask(plan, weights, arena, scratch, 20_000, workspace, bracket=bracket)
    ops.commit(plan, weights, arena, scratch, found.status)
    ops.rewind(plan, weights, arena, [torch.ones_like(w) for w in weights])
    ops.block_l1(plan, weights, arena)
    ops.bits.counts(plan, arena)


def step(dtype: torch.dtype) -> None:
    """One step of each optimiser."""
    plan = ops.Plan.make(SIZES)
    arena = arena_of(plan)

    def tensors() -> list[torch.Tensor]:
        return [torch.rand(n, device="cuda").to(dtype) for n in SIZES]

    def scalar(value: float) -> torch.Tensor:
        return torch.full((), value, dtype=torch.float64, device="cuda")

    words = list(plan.words)
    ops.masked_sgd(
        tensors(),
        tensors(),
        tensors(),
        arena,
        words,
        lr=scalar(0.1),
        momentum=0.9,
        dampening=0.0,
        weight_decay=scalar(0.01),
        nesterov=True,
        maximize=False,
        first=torch.ones((), dtype=torch.bool, device="cuda"),
        found_inf=torch.zeros(1, device="cuda"),
    )
    ops.masked_adamw(
        tensors(),
        tensors(),
        tensors(),
        tensors(),
        tensors(),
        [torch.zeros((), device="cuda") for _ in SIZES],
        arena,
        words,
        lr=scalar(0.1),
        beta1=scalar(0.9),
        beta2=scalar(0.99),
        weight_decay=scalar(0.01),
        eps=1e-8,
        maximize=False,
    )


if __name__ == "__main__":
    main()
