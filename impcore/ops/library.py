"""Registration with PyTorch, so that torch.compile and torch.library.opcheck know every op.

An op is registered once for all devices; its implementation picks the backend. Invariant: an op
that writes to a tensor bumps the tensor's version, without which autograd would silently use new
values where it saved old ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.graph import increment_version
from torch.compiler import is_compiling

# torch does not annotate its Library.
_FAKE = torch._C._TorchDispatchModeKey.FAKE
_mode_of = torch._C._get_dispatch_mode
_LIBRARY: Any = torch.library.Library("impcore", "DEF")  # type: ignore[no-untyped-call]


def register(
    schema: str, implementation: Callable[..., Any], fake: Callable[..., Any]
) -> Callable[..., Any]:
    """Defines `impcore::<schema>` and returns a callable that takes its arguments by position.

    Compiled, that is the op; eagerly the implementation itself, for PyTorch's dispatcher costs more
    than all else that Python does in a call. `fake` computes the outputs' shapes and dtypes without
    data, for tracing. Within a FakeTensorMode the callable raises as `refuse_fake` does.
    """
    name = schema.partition("(")[0]
    _LIBRARY.define(schema)
    # CompositeExplicitAutograd also serves calls with empty tensor lists, which have no device.
    _LIBRARY.impl(name, implementation, "CompositeExplicitAutograd")
    # No op is differentiable, and what it returns says so: it does not require gradients.
    _LIBRARY.impl(name, torch.library.fallthrough_kernel, "Autograd")
    torch.library.register_fake(f"impcore::{name}", fake, lib=_LIBRARY)
    op = getattr(torch.ops.impcore, name).default

    def call(*args: Any) -> Any:
        if is_compiling():
            return op(*args)
        refuse_fake()
        return implementation(*args)

    return call


def refuse_fake() -> None:
    """Raises NotImplementedError within a FakeTensorMode, whose tensors have no memory.

    Eager ops go past PyTorch's dispatcher, and so past the mode: they would write to what is real,
    and read results that are not.
    """
    if _mode_of(_FAKE) is not None:
        raise NotImplementedError(
            "masks and masked steps work on memory, which tensors made within a FakeTensorMode do "
            "not have; leave the mode for them, or torch.compile what is to be traced"
        )


written = increment_version
"""Tells autograd that these tensors were written to."""
