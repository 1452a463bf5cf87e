"""impcore: iterative magnitude pruning at memory speed, and the science done with it.

The public names are exported lazily, so that `import impcore` and `import impcore.rg` cost nothing
until a name that needs PyTorch is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from impcore import errors

__version__ = "0.1.0"

if TYPE_CHECKING:
    import impcore.rg as rg
    from impcore import export, models, ops, scores
    from impcore.flow import Flow
    from impcore.imp.ticket import Ticket
    from impcore.masks import Masks, masks_of
    from impcore.optim import MaskedAdamW, MaskedSGD
    from impcore.prune import prune_global

_HOME = {
    "Flow": "impcore.flow",
    "MaskedAdamW": "impcore.optim",
    "MaskedSGD": "impcore.optim",
    "Masks": "impcore.masks",
    "Ticket": "impcore.imp.ticket",
    "masks_of": "impcore.masks",
    "prune_global": "impcore.prune",
}
_MODULES = ("export", "models", "ops", "rg", "scores")

__all__ = [
    "Flow",
    "MaskedAdamW",
    "MaskedSGD",
    "Masks",
    "Ticket",
    "errors",
    "export",
    "masks_of",
    "models",
    "ops",
    "prune_global",
    "rg",
    "scores",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"impcore.{name}")
    raise AttributeError(f"module 'impcore' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
