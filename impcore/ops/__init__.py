"""The kernels: one contract, several backends, exact to the bit.

This floor knows tensors and integers, not models. Each op has one module here (contract, checks,
dispatch), one obviously right twin in `impcore.ops.reference`, and one kernel file a backend.
"""

from __future__ import annotations

from impcore.ops import bits
from impcore.ops.backend import backends
from impcore.ops.block_l1 import block_l1
from impcore.ops.masked_adamw import masked_adamw
from impcore.ops.masked_sgd import masked_sgd
from impcore.ops.plan import Plan
from impcore.ops.rewind import rewind
from impcore.ops.selection import Selection
from impcore.ops.topk_mask import commit, topk_mask, workspace, workspace_bytes

__all__ = [
    "Plan",
    "Selection",
    "backends",
    "bits",
    "block_l1",
    "commit",
    "masked_adamw",
    "masked_sgd",
    "rewind",
    "topk_mask",
    "workspace",
    "workspace_bytes",
]
