"""The CUDA build: compiles without a warning or a spilled register, imports without a driver.

Kept in build/ between runs, so that only what changed is compiled.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from . import programs

ROOT = programs.HERE.parent.parent
NVCC = shutil.which(f"{os.environ.get('CUDA_HOME', '/usr/local/cuda')}/bin/nvcc") or shutil.which(
    "nvcc"
)
NO_SPILLS = "-Xptxas=-warn-spills,-Werror"

pytestmark = pytest.mark.skipif(NVCC is None, reason="needs nvcc")


@pytest.fixture(scope="module")
def module():
    """The native module that setup.py makes with IMPCORE_CUDA=1."""
    work = ROOT / "build" / "test_cuda_build"
    folders = [f"--build-temp={work}/temp", f"--build-lib={work}/lib"]
    env = {**os.environ, "IMPCORE_CUDA": "1", "IMPCORE_WERROR": "1", "NVCC_APPEND_FLAGS": NO_SPILLS}
    run = [sys.executable, "setup.py", "-q", "build_ext", *folders]
    done = subprocess.run(run, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "impcore: built the backends cpu: yes, cuda: yes" in done.stdout
    return work / "lib" / "impcore" / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}"


# Every op with made-up addresses: a launch fails before any of them is read.
WITHOUT_A_DEVICE = """
import importlib.util, os, sys, torch
os.environ["CUDA_VISIBLE_DEVICES"] = ""
spec = importlib.util.spec_from_file_location("impcore._C", sys.argv[1])
native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)
sys.modules["impcore._C"] = native
import impcore
impcore._C = native
from impcore import ops
from impcore.errors import BackendError
assert ops.backends()[:2] == ["cpu", "cuda"], ops.backends()

cuda = native.cuda
weights, blocks = cuda.Weights(0, 64, 1, 64), cuda.BlockOrder(64, 64, 1)
states = [[64]], [[64]] * 2
args = [native.StepArgs(0, [64], [64], each, [64], [40], [-1], 0) for each in states]
number = torch.zeros((), dtype=torch.float64)
calls = {
    "upload": lambda: cuda.upload([1], 64, 0),
    "topk_mask": lambda: cuda.topk_mask(weights, 40, blocks, *[64] * 7, None, 0),
    "commit": lambda: cuda.commit(weights, 0, 64, 64, 64, 0),
    "rewind": lambda: cuda.rewind(weights, 0, 64, 0),
    "block_l1": lambda: cuda.block_l1(weights, blocks, 64, 64, 64, 0),
    "pack": lambda: cuda.pack(64, 40, 64, 0),
    "unpack": lambda: cuda.unpack(64, 40, 64, 0),
    "count": lambda: cuda.count(64, 2, 64, 0),
    "counts": lambda: cuda.counts(64, 1, 64, 64, 1, 0),
    "permute": lambda: cuda.permute(64, 64, [40], [1], [1], 0),
    "masked_sgd": lambda: cuda.masked_sgd(
        args[0], number, 0.9, 0.0, number, False, False, None, None, None, 0
    ),
    "masked_adamw": lambda: cuda.masked_adamw(
        args[1], *[number] * 4, 1e-8, False, None, None, 64, 0
    ),
}
known = {name for name in dir(cuda) if name[0].islower() and not name.endswith("_workspace")}
assert known == set(calls), known ^ set(calls)
for name, call in calls.items():
    try:
        call()
    except BackendError as error:
        assert "CUDA" in str(error), error
    else:
        raise AssertionError(name + " did not fail without a device")
assert cuda.topk_mask_workspace(1, 40) > 0
print("ok")
"""


def test_without_a_device_every_op_raises_a_typed_error(module):
    run = [sys.executable, "-c", WITHOUT_A_DEVICE, str(module)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(run, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr


@pytest.mark.parametrize(("architectures", "known"), [("80", "false"), ("80 90", "true")])
def test_kernels_overlap_only_if_they_were_compiled_to_wait(
    architectures: str, known: str, tmp_path: Path
) -> None:
    """PTX for sm_80 runs on sm_90 too, and knows no wait."""
    (tmp_path / "overlap.cu").write_text(
        f'#include "{ROOT}/csrc/cuda/common.cuh"\n'
        f"static_assert(impcore::cuda::knows_overlap() == {known});\n"
    )
    targets = [f"-gencode=arch=compute_{a},code=compute_{a}" for a in architectures.split()]
    run = [NVCC, "-std=c++17", *targets, "-c", "overlap.cu", "-o", "overlap.o"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


SPILLS = """
__global__ void __launch_bounds__(1024, 2) many(float* x) {
  float values[64];
  for (int i = 0; i < 64; ++i) values[i] = x[i * 1024 + threadIdx.x];
  __syncthreads();
  for (int i = 0; i < 64; ++i) x[i * 1024 + threadIdx.x] = values[i] * values[(i + 7) % 64];
}
"""


def test_a_spilled_register_is_an_error(tmp_path: Path):
    """The build above would not pass with it."""
    (tmp_path / "spills.cu").write_text(SPILLS)
    run = [NVCC, "-arch=sm_90", NO_SPILLS, "-c", "spills.cu", "-o", "spills.o"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Registers are spilled" in done.stdout + done.stderr
