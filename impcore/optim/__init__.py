"""Optimisers that mask in their own pass over the weights."""

from __future__ import annotations

from impcore.optim.masked_adamw import MaskedAdamW
from impcore.optim.masked_sgd import MaskedSGD

__all__ = ["MaskedAdamW", "MaskedSGD"]
