"""What all tests share: quiet OpenMP workers, hypothesis without deadlines, visible GPU skips."""

import os
import re
import sys
from collections.abc import Generator
from importlib.util import find_spec

import hypothesis
import pytest

# Before torch loads OpenMP: on a busy machine an idle worker that spins takes a core from the one
# that works.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Before the first matrix product on a GPU: cuBLAS looks at it once, and runs are deterministic.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

hypothesis.settings.register_profile("impcore", deadline=None, print_blob=True)
hypothesis.settings.load_profile("impcore")

# Dependencies that a machine with a GPU and without a network may lack (`make gpu-wheels`).
LIGHT = ("pydantic", "tyro", "tomli_w", "datasets", "transformers", "onnx", "tensorboard")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Under `-m gpu` a file that needs a package which is not there is skipped, visibly."""
    report = yield
    missing = re.search(r"No module named '(\w+)", report.longreprtext) if report.failed else None
    wanted = collector.config.getoption("markexpr") == "gpu"
    if wanted and missing and missing[1] in LIGHT and find_spec(missing[1]) is None:
        report.outcome = "skipped"
        reason = f"Skipped: needs {missing[1]}, which is not installed"
        report.longrepr = (str(collector.path), 0, reason)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Ends the process after a failure that no later test can outlive: a lost CUDA context."""
    report = yield
    if report.failed and item.get_closest_marker("gpu") and _context_is_lost():
        capture = item.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            said = f"the CUDA context is lost after {item.nodeid}\n{report.longreprtext}"
            print(f"\n{said}", file=sys.stderr, flush=True)
        os._exit(70)
    return report


def _context_is_lost() -> bool:
    import torch

    if not torch.cuda.is_initialized():
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


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
