"""What torch puts around the step of its optimisers, at a small step's price.

Invariant: hooks run, and a profiler at work is told of the step, as with any optimiser of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from itertools import chain
from typing import Any

import torch
from torch.optim.optimizer import (
    Optimizer,
    _global_optimizer_post_hooks,
    _global_optimizer_pre_hooks,
)


def hooked(step: Callable[..., Any]) -> Callable[..., Any]:
    """`Optimizer.profile_hook_step(step)`, but for its note where no profiler is at work.

    That note costs as much as all the rest of a step in Python.
    """
    noted = Optimizer.profile_hook_step(step)

    @wraps(step)
    def wrapper(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        before = self._optimizer_step_pre_hooks or _global_optimizer_pre_hooks
        profiled = torch.compiler.is_compiling() or torch.autograd._profiler_enabled()  # type: ignore[attr-defined]
        if before or profiled:
            return noted(self, *args, **kwargs)
        result = step(self, *args, **kwargs)
        for hook in chain(
            self._optimizer_step_post_hooks.values(), _global_optimizer_post_hooks.values()
        ):
            hook(self, (self, *args), kwargs)
        return result

    wrapper.hooked = True  # type: ignore[attr-defined] # torch then leaves it as it is
    return wrapper
