"""A recipe's tables, a module and a frozen, strict model each; the text under a key is its help.

Invariant: a table that exists holds known keys only, each of its own TOML type, finite, in range.
What keys demand of each other is in rules.py.
"""

from impcore.config.tables.analysis import Analysis
from impcore.config.tables.base import Table
from impcore.config.tables.data import Data
from impcore.config.tables.model import Model
from impcore.config.tables.prune import Prune
from impcore.config.tables.rewind import Rewind
from impcore.config.tables.run import Run
from impcore.config.tables.tasks import Tasks
from impcore.config.tables.train import Train

__all__ = ["Analysis", "Data", "Model", "Prune", "Rewind", "Run", "Table", "Tasks", "Train"]
