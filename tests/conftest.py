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
