"""The benchmarks' modules, and a GPU that is none: its logic on small CPU tensors."""

import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from gpu import Gpu  # noqa: E402
from timing import Case  # noqa: E402


class FakeClock:
    """Runs a case, and says that it took as long as its name is listed to take."""

    warms_all = True

    def __init__(self):
        self.ms = {}
        self.order = []

    def sample(self, case):
        case.prepare()
        case.run()
        self.order.append(case.name)
        return self.ms.get(case.name, 1.0)


class FakeDevice:
    """What `cuda_device.CudaDevice` is, without a device: a capture runs what it is given."""

    device = torch.device("cpu")

    def __init__(self):
        self.clock = FakeClock()
        self.captured = 0

    def capture(self, run):
        self.captured += 1
        run()
        return run

    def rates(self):
        cases = [Case(name, lambda: None) for name in ("copy", "read: torch.sum", "read: bare")]
        return cases, {"copy": 4e9, "read: torch.sum": 2e9, "read: bare": 2e9}

    def peak(self, run):
        run()
        return 1000

    def free(self):
        pass


@pytest.fixture
def fake_gpu(monkeypatch):
    """Two backends that this machine has, under the names of the GPU's."""
    monkeypatch.setenv("IMPCORE_BACKEND", "")
    return Gpu(FakeDevice(), {"cuda": "cpu", "triton": "reference"}, {})
