"""From a model to its parameters by name, as they are held: no hook or property is asked.

A route is a number and a name: of the module that holds it, the model itself being 0 and every
further one numbered in turn, and its name there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

Route = tuple[int, str]


def find(names: Sequence[str]) -> tuple[list[Route], list[Route]]:
    """Routes to the modules on the way to parameters of these names, each once, and to these."""
    numbers = {"": 0}
    modules, leaves = [], []
    for name in names:
        *parts, leaf = name.split(".")
        for depth, part in enumerate(parts):
            path = ".".join(parts[: depth + 1])
            if path not in numbers:
                modules.append((numbers[".".join(parts[:depth])], part))
                numbers[path] = len(modules)
        leaves.append((numbers[".".join(parts)], leaf))
    return modules, leaves


def walk(model: nn.Module, inner: Sequence[Route], leaves: Sequence[Route]) -> list[nn.Parameter]:
    """The parameters that `find`'s routes lead to.

    Raises:
        KeyError, AttributeError: something on the way is gone.
    """
    modules: list[Any] = [model]
    for parent, name in inner:
        modules.append(modules[parent]._modules[name])
    return [modules[owner]._parameters[name] for owner, name in leaves]


def parameter(model: nn.Module, name: str) -> nn.Parameter | None:
    """The model's parameter of this name, if it has one."""
    *path, leaf = name.split(".")
    module: nn.Module | None = model
    try:
        for part in path:
            module = module._modules[part]  # type: ignore[union-attr]
        return module._parameters[leaf]  # type: ignore[union-attr]
    except (KeyError, AttributeError):
        return None
