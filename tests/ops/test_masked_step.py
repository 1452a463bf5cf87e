"""What the optimisers' ops share: masks, threads, instruction sets, layouts."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from . import step_cases as cases
from . import tensors
from .step_cases import every_op


@pytest.mark.parametrize("dtype", tensors.DTYPES)
@pytest.mark.parametrize("plain", [False, True])
@every_op
def test_what_a_dead_weight_holds_does_not_matter(make, dtype, plain, backend):
    """A selection, never a multiplication: NaN and infinity become +0, and so does -0."""
    simpler = {"momentum": 0.0} if make is cases.sgd else {"amsgrad": False}
    clean = make(dtype, density=0.4, **(simpler if plain else {}))
    dirty = clean.copy()
    for i, values in enumerate((float("nan"), float("inf"), float("-inf"), -0.0)):
        for row in dirty.lists()[:5]:
            for tensor, mask in zip(row, dirty.masks, strict=False):
                if mask is not None:
                    dead = torch.from_numpy(~mask & (np.arange(mask.size) % 4 == i))
                    tensor.as_strided((tensor.numel(),), (1,))[dead] = values
    after, want = dirty.run(), clean.run()
    assert torch.tensor([t.isnan().any() for t in dirty.grads]).any()
    for i, mask in enumerate(after.masks):
        for got, wanted in zip(cases.written(after, i), cases.written(want, i), strict=True):
            assert np.array_equal(tensors.storage(got), tensors.storage(wanted))
            if mask is not None:
                assert not tensors.storage(got)[~mask].any()


@pytest.mark.parametrize("words", [[0, 1, 2, 3, 5, 6, 8], [2, 7, 19], []], ids=len)
@pytest.mark.parametrize("alive", [1, 2**31, 0xFFFF, 0xFFFF0000, 0x10001])
@pytest.mark.parametrize("dtype", tensors.DTYPES)
@every_op
def test_dead_words(make, dtype, alive, words):
    """Few of them or, as in late rounds, nearly all, where only the others are computed."""
    numel = 32 * 19 + 20
    case, dense = (make(dtype, shapes=[(numel,)]) for _ in range(2))
    mask = np.zeros(32 * 20, bool)
    for word in words:
        mask[32 * word : 32 * (word + 1)] = [alive >> i & 1 for i in range(32)]
    case.masks, dense.masks = [mask[:numel]], [None]
    case.grads[0][torch.from_numpy(~case.masks[0])] = float("nan")
    case.params[0][32 * 12 : 32 * 13] = -0.0
    after, want = case.run(), dense.run()
    for got, wanted in zip(cases.written(after, 0), cases.written(want, 0), strict=True):
        expected = np.where(case.masks[0], tensors.storage(wanted), 0)
        assert np.array_equal(tensors.storage(got), expected)


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("found", [1.0, 2.0, float("inf"), float("nan")])
@every_op
def test_a_skipped_step_touches_nothing(make, dtype, found, backend):
    case = make(dtype, found_inf=torch.tensor([found]))
    assert case.run().bits() == case.bits()


@pytest.mark.parametrize("dtype", cases.DTYPES)
@every_op
def test_threads_do_not_show(make, dtype):
    case = make(dtype, shapes=[(70_000,), (3,), (200_001,), (0,)])
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(case.run().bits())
    torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]
    assert results[0] != case.bits()


ISA_SCRIPT = """
import hashlib, itertools, torch
from impcore import _C, ops
gen = torch.Generator().manual_seed(0)
digest = hashlib.sha256()
number = torch.tensor
scale = number(3.0)

def sgd(rows, words, heavy):
    ops.masked_sgd(*rows[:2], rows[2] if heavy else [], mask, words, lr=number(0.1),
                   momentum=0.9 * heavy, dampening=0.0, weight_decay=number(1e-3), nesterov=heavy,
                   maximize=not heavy, first=None, grad_scale=scale)

def adamw(rows, words, heavy):
    steps = [number(float(i)) for i in range(3)]
    squares = [[t.abs() for t in row] for row in rows[3:]]
    ops.masked_adamw(*rows[:3], squares[0], squares[1] if heavy else [], steps, mask, words,
                     lr=number(0.1), beta1=number(0.9), beta2=number(0.99), eps=1e-8,
                     weight_decay=number(1e-3), maximize=not heavy, grad_scale=scale)
    rows[3:] = squares

dtypes = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
sizes = (1.0, 1e-40, 1e-6, 6e4, 1e38)
for dtype, size, heavy, op in itertools.product(dtypes, sizes, (False, True), (sgd, adamw)):
    rows = [[torch.randn(n, generator=gen, dtype=torch.float64).mul(size).to(dtype)
             for n in (1, 33, 1000)] for _ in range(5)]
    for row in rows:
        row[1][::7] = float("inf")
        row[2][::9] = 0.0
    rows[1][2][::5] = float("nan")
    words = [-1, -1, -1] if dtype == torch.float64 else [0, -1, 1]
    mask = torch.randint(-2**31, 2**31, (33,), generator=gen, dtype=torch.int32)
    mask[4 if heavy else 33 :] = 0
    op(rows, words, heavy)
    for row in rows:
        for t in row:
            # Which of two NaNs survives an addition is the compiler's choice.
            t[t.isnan()] = float("nan")
            digest.update(t.view(torch.uint8).numpy().tobytes())
print(_C.isa(), digest.hexdigest())
"""


def test_instruction_sets_do_not_show():
    found = {}
    for isa in ("portable", "avx2", "avx512"):
        run = subprocess.run(
            [sys.executable, "-c", ISA_SCRIPT],
            env={**os.environ, "IMPCORE_ISA": isa},
            capture_output=True,
            text=True,
            check=False,
        )
        if "is not supported by this CPU" in run.stderr:
            continue
        assert run.returncode == 0, run.stderr
        name, digest = run.stdout.split()
        assert name == isa
        found[isa] = digest
    assert "portable" in found
    assert len(set(found.values())) == 1, found


@every_op
def test_neighbours_in_memory_stay(make, backend):
    case = make(torch.float32, shapes=[(69_985,)], density=0.0)
    buffers = [torch.full((70_000,), 3.0) for _ in range(5)]
    views = iter([b[5:69_990] for b in buffers])
    case.params, case.grads, *states = [[next(views)] for _ in case.lists()[:5]]
    case.states[: len(states)] = states
    case.op(*case.lists(), case.arena(), case.words(), **case.options)
    assert not any(t.any() for t in cases.written(case, 0))
    assert (case.grads[0] == 3).all()
    for buffer in buffers:
        assert (buffer[:5] == 3).all()
        assert (buffer[69_990:] == 3).all()


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (7, 5)])
@every_op
def test_layouts(make, shape, backend):
    """The mask follows the storage order, so strides do not matter to the arithmetic."""

    def permuted(t):
        if t.dim() == 4:
            return t.to(memory_format=torch.channels_last)
        return t.t() if t.dim() == 2 else t

    case = make(torch.float32, shapes=[shape])
    moved = case.copy().replaced(permuted)
    assert moved.params[0].is_contiguous() is False
    if len(shape) == 2:
        assert moved.run().bits() == case.run().bits()
    exact = {cases.sgd: cases.sgd_exact, cases.adamw: cases.adamw_exact}[make]
    cases.check_rounded_once(exact(moved), moved.run(), roundings=16)
