"""What an analysis ran with: versions, asked from the installed metadata without importing."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from impcore import __version__
from impcore.rg.rows import Row

_PACKAGES = ("numpy", "scipy", "matplotlib", "torch")


def environment() -> dict[str, str]:
    """Python, the platform, and the version of each package that a run or its analysis uses."""
    versions = {package: _version(package) for package in _PACKAGES}
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{platform.system()} {platform.machine()}",
        "impcore": __version__,
        **versions,
    }


def recorded(rows: Sequence[Row]) -> dict[str, str]:
    """Extra scalars that every row of rounds.jsonl repeats unchanged, such as device or versions.

    Nested tables are flattened to dotted keys.
    """
    flat = [_flatten(row.extra) for row in rows]
    if not flat:
        return {}
    return {
        key: str(value)
        for key, value in flat[0].items()
        if all(key in other and other[key] == value for other in flat)
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _flatten(value: object, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        parts = (_flatten(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items())
        return {key: scalar for part in parts for key, scalar in part.items()}
    return {prefix: value} if isinstance(value, (str, int, float)) else {}
