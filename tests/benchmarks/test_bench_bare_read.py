"""The bare read: by Triton's interpreter, and compiled for a GPU that is not here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
triton = pytest.importorskip("triton")

READ = """
import functools, operator
import torch
import bare_read
words = torch.randint(-2**31, 2**31, (2 * bare_read.BLOCK + 5,), dtype=torch.int32)
found = bare_read.read(words)
parts = words.split(bare_read.BLOCK)
assert found.tolist() == [functools.reduce(operator.xor, part.tolist()) for part in parts]
assert bare_read.read(words[: bare_read.BLOCK]).tolist() == found[:1].tolist()
"""


def test_every_word_is_read():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(BENCHMARKS)}
    done = subprocess.run(
        [sys.executable, "-c", READ], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="the interpreter has no compiler")
def test_it_compiles_and_reads_wide():
    import bare_read
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {"words": "*i32", "out": "*i32", "total": "i64", "BLOCK": "constexpr"}
    attributes = {(i,): [["tt.divisibility", 16]] for i in (0, 2)}  # as 2 GB are
    source = ASTSource(bare_read.fold, signature, {(3,): bare_read.BLOCK}, attributes)
    kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    assert "ld.global.v4" in kernel.asm["ptx"]
    assert kernel.asm["cubin"]
