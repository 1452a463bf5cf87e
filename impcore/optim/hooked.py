"""What torch puts around the step of its optimisers, at a small step's price.

Invariant: hooks run, and a profiler at work is told of the step, as with any optimiser of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch.autograd import _profiler_enabled  # type: ignore[attr-defined]
from torch.compiler import is_compiling
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
        if before or is_compiling() or _profiler_enabled():
            return noted(self, *args, **kwargs)
        result = step(self, *args, **kwargs)
        for hooks in (self._optimizer_step_post_hooks, _global_optimizer_post_hooks):
            if hooks:
                for hook in hooks.values():
                    hook(self, (self, *args), kwargs)
        return result

    wrapper.hooked = True  # type: ignore[attr-defined] # torch then leaves it as it is
    return wrapper
