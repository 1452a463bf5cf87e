"""Recipes: strict tables with one error a fault, lengths of training, overrides.

`load` is the way in; nothing here imports PyTorch or touches the disk beyond reading one file.
"""

from impcore.config.entries import split as split_entries
from impcore.config.length import Length, RewindPoint
from impcore.config.load import load, shipped
from impcore.config.recipe import Config
from impcore.config.schedule import Schedule
from impcore.config.tables import Analysis, Data, Model, Prune, Rewind, Run, Train
from impcore.config.values import typed

__all__ = [
    "Analysis",
    "Config",
    "Data",
    "Length",
    "Model",
    "Prune",
    "Rewind",
    "RewindPoint",
    "Run",
    "Schedule",
    "Train",
    "load",
    "shipped",
    "split_entries",
    "typed",
]
