"""What all tests share: quiet OpenMP workers, hypothesis without deadlines, visible GPU skips."""

import os

import hypothesis
import pytest

# Before torch loads OpenMP: on a busy machine an idle worker that spins takes a core from the one
# that works.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

hypothesis.settings.register_profile("impcore", deadline=None, print_blob=True)
hypothesis.settings.load_profile("impcore")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(params=["cuda", "triton"])
def gpu_backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Forces each backend that serves GPUs in turn."""
    import torch

    from impcore import ops

    name: str = request.param
    if name not in ops.backends():
        pytest.skip(f"this build does not hold the backend {name}")
    if name == "cuda" and torch.version.hip:
        pytest.skip("the CUDA kernels do not run on AMD")
    monkeypatch.setenv("IMPCORE_BACKEND", name)
    return name
