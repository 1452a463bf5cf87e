"""What text and images demand of the keys of a recipe: which go together, and which are unused.

Invariant: as in rules.py, a rule looks only at tables that are valid in themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from impcore.config.faults import ABSENT, Fault
from impcore.config.tables import Data, Model, Table, Train
from impcore.config.tables.data import FileTextName
from impcore.config.tables.model import SIZES


def text_rules(tables: Mapping[str, Table]) -> Iterator[Fault]:
    """The faults of the tables model, data and train, as far as they are there."""
    model, data, train = tables.get("model"), tables.get("data"), tables.get("train")
    if isinstance(model, Model):
        alone = "tasks" not in tables  # a task's or an initialisation's entry may name the weights
        yield from _text_model(model, alone) if model.is_text else _image_model(model)
    if isinstance(data, Data) and data.is_text:
        yield from _text_data(data, train)
    if isinstance(model, Model) and isinstance(data, Data):
        yield from _together(model, data)


def _together(model: Model, data: Data) -> Iterator[Fault]:
    if data.is_text != model.is_text:
        kind, needed = ("text", "bert") if data.is_text else ("images", "resnet20")
        hint = f'is not for {kind}, which data.name = "{data.name}" is; "{needed}" would be'
        yield Fault("model.arch", model.arch, hint)
    elif data.name in get_args(FileTextName) and model.hidden_size and data.tokenizer is None:
        yield Fault("data.tokenizer", ABSENT, "missing: a model from scratch has none of its own")


def _text_model(model: Model, alone: bool) -> Iterator[Fault]:
    needed = SIZES[:4]
    missing = [key for key in needed if getattr(model, key) is None]
    if len(missing) == len(needed):
        if model.path is None and alone:
            sizes = ", ".join(needed)
            yield Fault("model.path", ABSENT, f"missing: the weights, or else the sizes: {sizes}")
        for key in SIZES[4:]:
            if getattr(model, key) is not None:
                yield Fault(f"model.{key}", getattr(model, key), "needs model.hidden_size")
    for key in missing if len(missing) < len(needed) else ():
        yield Fault(f"model.{key}", ABSENT, "missing, as other sizes are given")
    if model.hidden_size and model.heads and model.hidden_size % model.heads:
        hint = f"should divide model.hidden_size = {model.hidden_size}"
        yield Fault("model.heads", model.heads, hint)
    if model.bn_gamma is not None:
        yield Fault("model.bn_gamma", model.bn_gamma, f"{model.arch} has no BatchNorm")
    if model.stem != "cifar":
        yield Fault("model.stem", model.stem, f"{model.arch} has no stem")


def _image_model(model: Model) -> Iterator[Fault]:
    for key in SIZES:
        if getattr(model, key) is not None:
            yield Fault(f"model.{key}", getattr(model, key), f"{model.arch} has its own sizes")


def _text_data(data: Data, train: Table | None) -> Iterator[Fault]:
    if data.validation:
        yield Fault("data.validation", data.validation, "should be 0 for text")
    if isinstance(train, Train) and train.channels_last:
        yield Fault("train.channels_last", True, "should be false for text")
