"""Sees through PyTorch's wrappers around a model, so that parameter names stay its own."""

from __future__ import annotations

from torch import nn


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel, DataParallel and torch.compile, in any nesting.

    Raises:
        TypeError: `model` is not an nn.Module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    while True:
        # Not .get: the modules of a ScriptModule are no dict.
        compiled = model._modules["_orig_mod"] if "_orig_mod" in model._modules else None  # noqa: SIM401
        if compiled is not None:
            model = compiled
        elif isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            model = model.module
        else:
            return model
