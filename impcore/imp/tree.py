"""Nested state (dicts, lists, tuples, numbers, tensors) as JSON beside a flat dict of tensors.

Invariant: `join(*split(state))` equals `state`, types of dict keys and tuples included. That is
what lets an optimiser's or a generator's state be saved without pickle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

_TENSOR = "$tensor"
_TUPLE = "$tuple"
_ITEMS = "$items"
_PLAIN = (bool, int, float, str)


def split(state: object, prefix: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """JSON in which each tensor is a reference, and the tensors under names that start with prefix.

    Raises TypeError, naming the place, for anything but None, bool, int, float, str, list, tuple,
    dict (keys: str or int) and tensors.
    """
    tensors: dict[str, torch.Tensor] = {}

    def walk(node: object, path: str) -> Any:
        if node is None or isinstance(node, _PLAIN):
            return node
        if isinstance(node, torch.Tensor):
            tensors[path] = node
            return {_TENSOR: path}
        if isinstance(node, list):
            return [walk(value, f"{path}.{i}") for i, value in enumerate(node)]
        if isinstance(node, tuple):
            return {_TUPLE: [walk(value, f"{path}.{i}") for i, value in enumerate(node)]}
        if isinstance(node, Mapping):
            items = {key: walk(value, f"{path}.{key}") for key, value in node.items()}
            if all(isinstance(key, str) and not key.startswith("$") for key in items):
                return items
            return {_ITEMS: [[key, value] for key, value in items.items()]}
        raise TypeError(f"{path}: a {type(node).__name__} cannot be saved without pickle")

    return walk(state, prefix), tensors


def join(node: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The state that `split` took apart. Raises KeyError if a tensor it refers to is missing."""
    if isinstance(node, list):
        return [join(value, tensors) for value in node]
    if not isinstance(node, dict):
        return node
    if _TENSOR in node:
        return tensors[node[_TENSOR]]
    if _TUPLE in node:
        return tuple(join(value, tensors) for value in node[_TUPLE])
    if _ITEMS in node:
        return {key: join(value, tensors) for key, value in node[_ITEMS]}
    return {key: join(value, tensors) for key, value in node.items()}
