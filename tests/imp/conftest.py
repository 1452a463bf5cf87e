from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from impcore.config import Config

# The first example pays for PyTorch's own start, and the machine is shared.
settings.register_profile("imp", deadline=None)
settings.load_profile("imp")


@pytest.fixture
def make_config(tmp_path: Path) -> Callable[..., Config]:
    """`micro` in this test's own directory."""
    from imp_harness import micro

    def make(**overrides: Any) -> Config:
        return micro(tmp_path / "run", **overrides)

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The directory and the result of a micro run that was never stopped."""
    from imp_harness import finish, micro

    out = tmp_path_factory.mktemp("reference") / "run"
    return out, finish(micro(out))
