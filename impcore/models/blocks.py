"""How a model says what its parts are: the blocks whose share of magnitude an analysis follows, and
the head, which belongs to the task.

Invariant: patterns are fnmatch patterns on the parameter names of the *unwrapped* model, whatever
wraps it; a model that does not say its blocks is refused, never guessed at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn


@runtime_checkable
class HasBlocks(Protocol):
    """A model class that names its blocks."""

    def block_patterns(self, granularity: str) -> dict[str, list[str]]:
        """Return block name → fnmatch patterns of parameter names, blocks in network order.

        Blocks must not overlap; they need not cover the model. An unknown granularity is a
        ValueError that lists the known ones.
        """
        ...


@runtime_checkable
class HasHead(Protocol):
    """A model class that names its head: what is made anew for another task."""

    def head_patterns(self) -> list[str]:
        """Return fnmatch patterns of the names of the head's parameters and buffers."""
        ...


def blocks_of(model: nn.Module, granularity: str = "stage") -> dict[str, list[str]]:
    """Return the blocks of `model`: name → fnmatch patterns of parameter names.

    A ResNet gives {"stage1": ["layer1.*"], ...} for "stage" and {"layer1.0": ["layer1.0.*"], ...}
    for "block". DataParallel, DistributedDataParallel and torch.compile wrappers are looked
    through: the patterns are for the names without "module." and "_orig_mod.".

    Raises:
        TypeError: the model's class has no `block_patterns` method (see `HasBlocks`).
        ValueError: the model has no such granularity.
    """
    from impcore.unwrap import unwrap  # imports PyTorch

    inner = unwrap(model)
    if not isinstance(inner, HasBlocks):
        raise TypeError(
            f"model: {type(inner).__name__} does not say what its blocks are; give the class a "
            "method block_patterns(granularity) -> dict[str, list[str]], or pass the blocks "
            'yourself, e.g. {"stage1": ["layer1.*"]}'
        )
    return inner.block_patterns(granularity)


def head_of(model: nn.Module) -> list[str]:
    """Return fnmatch patterns of the names of a model's head: ["fc.*"] for a ResNet.

    Wrappers are looked through, as in `blocks_of`.

    Raises:
        TypeError: the model's class has no `head_patterns` method (see `HasHead`).
    """
    from impcore.unwrap import unwrap  # imports PyTorch

    inner = unwrap(model)
    if not isinstance(inner, HasHead):
        raise TypeError(
            f"model: {type(inner).__name__} does not say what its head is; give the class a method "
            'head_patterns() -> list[str], e.g. ["fc.*"]'
        )
    return inner.head_patterns()
