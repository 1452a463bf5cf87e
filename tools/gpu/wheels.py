"""Installs what the machine lacks from wheels that were brought along (`make gpu-wheels`).

Invariant: nothing that is installed is shadowed, and nothing outside the given folder is changed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path


def missing(wheels: Path) -> list[Path]:
    """The wheels of packages that this Python does not have."""
    return [wheel for wheel in sorted(wheels.glob("*.whl")) if not _installed(wheel)]


def _installed(wheel: Path) -> bool:
    name = re.sub(r"[-_.]+", "-", wheel.name.split("-")[0])
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def install(wheels: Path, site: Path) -> list[str]:
    """Installs those into the folder `site`; their file names.

    Raises:
        CalledProcessError: pip failed.
    """
    wanted = missing(wheels)
    if wanted:
        options = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--upgrade"]
        pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(site)]
        subprocess.run([*pip, *map(str, wanted)], check=True)
    return [wheel.name for wheel in wanted]
