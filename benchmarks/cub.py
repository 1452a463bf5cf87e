"""CUB's DeviceTopK, the fastest exact selection on flat keys that ships with CUDA.

Built with nvcc when a benchmark starts (benchmarks/cub.cu). It needs the headers of CCCL 3.2 or
newer: CUDA 13.0 and older ship older ones, the package nvidia-cuda-cccl on PyPI has them
(`make gpu-wheels`).
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("cub.cu")
HEADER = "cub/device/device_topk.cuh"
PACKAGE = "nvidia-cuda-cccl"


def available() -> str | None:
    """Why DeviceTopK cannot be built here; None if it can."""
    if nvcc() is None:
        return "there is no nvcc"
    if headers() is None:
        return f"no {HEADER} (CCCL 3.2 or newer: pip install {PACKAGE})"
    return None


def nvcc() -> str | None:
    """The CUDA compiler, where setup.py looks for it."""
    home = os.environ.get("CUDA_HOME")
    places = [f"{home}/bin/nvcc"] if home else ["nvcc", "/usr/local/cuda/bin/nvcc"]
    return next(filter(None, map(shutil.which, places)), None)


def headers() -> Path | None:
    """The folder that holds `cub/`: the toolkit's own, or that of the package."""
    places = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include" / "cccl"]
    try:
        found = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        found = []
    up = len(Path(HEADER).parts) - 1
    places += [Path(f.locate()).parents[up] for f in found if f.as_posix().endswith(HEADER)]
    return next((place for place in places if (place / HEADER).is_file()), None)


def build(folder: Path, architecture: str = "native") -> Path:
    """The library, compiled for an architecture as nvcc's -arch takes it.

    Raises:
        RuntimeError: it does not compile; the message is the compiler's first error.
    """
    out = folder / "cub.so"
    flags = [f"-arch={architecture}", "-O3", "-std=c++17", "-shared", "-Xcompiler=-fPIC"]
    command = [str(nvcc()), *flags, f"-I{headers()}", str(SOURCE), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr + done.stdout).splitlines()
        first = next((line for line in lines if "error" in line), " ".join(lines[-1:]))
        raise RuntimeError(f"cub.cu does not compile: {first}")
    return out


@functools.cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(build(Path(tempfile.mkdtemp(prefix="impcore-cub-")))))
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    library.cub_smallest.argtypes = [
        *(pointer, ctypes.POINTER(ctypes.c_size_t), pointer, pointer),
        *(size, size, pointer),
    ]
    return library


class DeviceTopK:
    """The k smallest of `keys` (flat float32 on a CUDA device), by CUB; memory is made here.

    Raises:
        TypeError: other keys. RuntimeError: it does not compile, or CUDA refuses.
    """

    def __init__(self, keys: torch.Tensor, k: int) -> None:
        if keys.dtype != torch.float32 or not keys.is_cuda or not keys.is_contiguous():
            raise TypeError(f"keys are {keys.dtype} on {keys.device}, not flat float32 on CUDA")
        self._keys, self._k = keys, k
        self.found = torch.empty(k, device=keys.device)
        self._scratch: torch.Tensor | None = None
        self._bytes = ctypes.c_size_t(0)
        self.run()
        self._scratch = torch.empty(self._bytes.value, dtype=torch.uint8, device=keys.device)

    def run(self) -> torch.Tensor:
        """Queues one selection on the current stream; returns `found`, in any order."""
        keys = self._keys
        with torch.cuda.device(keys.device):
            error = _library().cub_smallest(
                None if self._scratch is None else self._scratch.data_ptr(),
                ctypes.byref(self._bytes),
                *(keys.data_ptr(), self.found.data_ptr(), keys.numel(), self._k),
                torch.cuda.current_stream(keys.device).cuda_stream,
            )
        if error:
            raise RuntimeError(f"CUB's DeviceTopK failed: cudaError_t {error}")
        return self.found
