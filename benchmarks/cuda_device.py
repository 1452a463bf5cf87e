"""The part of the GPU benchmarks that only a GPU can run: events, a cold cache, graphs, memory."""

from __future__ import annotations

from typing import Any

import torch
from gpu import Gpu
from timing import Case, Run

from impcore import ops
from impcore.errors import BackendError

BUFFER = 2 << 30  # bytes of a large copy's source: many times the L2 cache
FLUSH = 256 << 20  # bytes written and read to empty the L2 cache, or four times its size


class CudaClock:
    """CUDA events around a case; the L2 cache holds nothing of its operands.

    A buffer larger than the cache is written, which evicts all else, and read, which writes its own
    lines back: a case pays neither for warm operands nor for the flush's dirty lines.
    """

    warms_all = True  # the first call of a kernel loads it

    def __init__(self, device: torch.device) -> None:
        cache = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)
        self._flush = torch.empty(max(FLUSH, 4 * cache) // 4, device=device)
        self._sum = torch.empty((), device=device)
        self._begin = torch.cuda.Event(enable_timing=True)
        self._end = torch.cuda.Event(enable_timing=True)

    def sample(self, case: Case) -> float:
        """Prepares and runs a case once; milliseconds of the run on the device."""
        case.prepare()
        self._flush.zero_()
        torch.sum(self._flush, dim=0, out=self._sum)
        if not case.queued:
            torch.cuda.synchronize()
        self._begin.record()
        case.run()
        self._end.record()
        self._end.synchronize()
        return self._begin.elapsed_time(self._end)


class CudaDevice:
    """The current CUDA device."""

    def __init__(self) -> None:
        self.device = torch.device("cuda", torch.cuda.current_device())
        self.clock = CudaClock(self.device)
        self._from = torch.randn(BUFFER // 4, device=self.device)
        self._to = torch.empty_like(self._from)
        self._sum = torch.empty((), device=self.device)

    def capture(self, run: Run) -> Run:
        """A replay of what a run launches, after two runs that are not captured."""
        here = torch.cuda.current_stream(self.device)
        side = torch.cuda.Stream(self.device)
        side.wait_stream(here)
        with torch.cuda.stream(side):
            run()
            run()
        here.wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                run()
        finally:
            # A capture that fails leaves its own stream current.
            torch.cuda.set_stream(here)
        return graph.replay

    def rates(self) -> tuple[list[Case], dict[str, float]]:
        """A copy of 2 GB (read and written), and reads of it; the fastest read counts."""
        cases = [
            Case("copy", lambda: self._to.copy_(self._from), queued=True),
            Case("read: torch.sum", self._read_by_torch, queued=True),
        ]
        moved = {"copy": 2.0 * BUFFER, "read: torch.sum": float(BUFFER)}
        if "triton" in ops.backends():
            import bare_read

            words = self._from.view(torch.int32)
            cases.append(Case("read: bare", lambda: bare_read.read(words), queued=True))
            moved["read: bare"] = float(BUFFER)
        return cases, moved

    def _read_by_torch(self) -> None:
        torch.sum(self._from, dim=0, out=self._sum)

    def peak(self, run: Run) -> int | None:
        """Bytes of device memory that a run needed at most beyond those before."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated(self.device) - before

    def free(self) -> None:
        """Gives cached memory back."""
        torch.cuda.empty_cache()


def place() -> Gpu:
    """The current GPU, with every backend that serves it.

    Raises:
        BackendError: there is no CUDA device, or no backend of this build serves one.
    """
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        why = "no driver or no device is found" if built else "it was built without CUDA"
        raise BackendError(f"--device cuda: torch {torch.__version__} sees no CUDA device ({why})")
    built_in = ops.backends()
    backends: dict[str, str | None] = {}
    missing = {}
    for name in ("cuda", "triton"):
        if name not in built_in:
            missing[name] = f"this build holds {', '.join(built_in)}"
        elif name == "cuda" and torch.version.hip:
            missing[name] = "CUDA kernels do not run on AMD"
        else:
            backends[name] = name
    if not backends:
        raise BackendError(
            f"--device cuda: no backend of this build serves a GPU (built: {', '.join(built_in)}); "
            "install Triton (pip install triton), or build impcore where nvcc is found"
        )
    return Gpu(CudaDevice(), backends, missing)


def about(device: torch.device) -> dict[str, Any]:
    """The GPU, its memory, and the versions that matter to it."""
    facts = torch.cuda.get_device_properties(device)
    return {
        "gpu": facts.name,
        "memory_gib": round(facts.total_memory / 2**30),
        "multiprocessors": facts.multi_processor_count,
        "cuda": torch.version.cuda or torch.version.hip,
        "backends": ", ".join(ops.backends()),
    }
