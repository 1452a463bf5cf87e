"""The device decides, or IMPCORE_BACKEND does; never a silent fallback."""

import pytest
import torch

from impcore import _C, ops
from impcore.errors import BackendError
from impcore.ops import backend as backends
from impcore.ops.reference import block_l1 as reference


def call():
    plan = ops.Plan.make([40])
    return ops.block_l1(plan, [torch.ones(40)], torch.tensor([-1, 255], dtype=torch.int32))


@pytest.fixture
def spies(monkeypatch):
    """Which implementation ran."""
    seen = []
    native, plain = _C.block_l1, reference.block_l1
    monkeypatch.setattr(_C, "block_l1", lambda *a: (seen.append("cpu"), native(*a))[1])

    def spy(*args):
        seen.append("reference")
        return plain(*args)

    monkeypatch.setattr(reference, "block_l1", spy)
    return seen


@pytest.mark.parametrize(
    ("name", "ran"), [(None, "cpu"), ("", "cpu"), ("cpu", "cpu"), ("reference", "reference")]
)
def test_which_implementation_runs(name, ran, spies, monkeypatch):
    if name is None:
        monkeypatch.delenv("IMPCORE_BACKEND", raising=False)
    else:
        monkeypatch.setenv("IMPCORE_BACKEND", name)
    assert call().tolist() == [[40], [40]]
    assert spies == [ran]


@pytest.mark.parametrize("name", ["gpu", "CPU", "cpu ", "numpy"])
def test_an_unknown_backend_is_an_error(name, spies, monkeypatch):
    monkeypatch.setenv("IMPCORE_BACKEND", name)
    with pytest.raises(BackendError, match=f"IMPCORE_BACKEND='{name}' is unknown; known are cpu"):
        call()
    assert spies == []


@pytest.mark.parametrize("name", sorted(set(backends.BACKENDS) - set(ops.backends())))
def test_a_backend_that_was_not_built_is_an_error(name, spies, monkeypatch):
    monkeypatch.setenv("IMPCORE_BACKEND", name)
    with pytest.raises(BackendError, match=f"IMPCORE_BACKEND='{name}' is not in this build"):
        call()
    assert spies == []


def test_a_device_that_no_backend_serves_is_an_error():
    with pytest.raises(BackendError, match="no backend of this build serves xpu tensors"):
        backends.find("block_l1", torch.device("xpu"))


@pytest.fixture
def held(monkeypatch):
    """Pretends that the build holds other backends."""

    def pretend(*names):
        monkeypatch.setattr(backends, "_built", lambda: names)
        backends._usual.cache_clear()

    yield pretend
    monkeypatch.undo()
    backends._usual.cache_clear()


def test_without_cuda_or_triton_a_gpu_tensor_is_refused_and_told_what_to_do(held):
    held("cpu", "reference")
    with pytest.raises(BackendError, match=r"serves cuda tensors .*pip install triton.*nvcc"):
        backends.find("block_l1", torch.device("cuda"))


@pytest.mark.parametrize(
    ("built", "hip", "served"),
    [
        (("cpu", "cuda", "triton", "reference"), None, "cuda"),
        (("cpu", "cuda", "triton", "reference"), "6.4", "triton"),
        (("cpu", "triton", "reference"), None, "triton"),
    ],
)
def test_cuda_kernels_come_before_triton_but_not_on_amd(built, hip, served, held, monkeypatch):
    held(*built)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert backends._serving("cuda") == served


def test_a_forced_backend_must_serve_the_device(monkeypatch):
    monkeypatch.setenv("IMPCORE_BACKEND", "cpu")
    with pytest.raises(BackendError, match="IMPCORE_BACKEND='cpu' does not serve cuda tensors"):
        backends.find("block_l1", torch.device("cuda"))


def test_the_list_of_backends_is_a_copy():
    ops.backends().clear()
    assert "cpu" in ops.backends()
    assert "reference" in ops.backends()
