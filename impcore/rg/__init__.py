"""The renormalisation-group analysis of a pruning run: reads files and arrays, never a model.

Invariant: PyTorch is not imported, matplotlib only when a report is drawn; importing this package
costs little more than importing NumPy.
"""

from __future__ import annotations

from impcore.rg.analysis import Analysis, analyse
from impcore.rg.eigen import Eigen, eigen
from impcore.rg.run import Run, load

__all__ = ["Analysis", "Eigen", "Run", "analyse", "eigen", "load"]
