"""torch.compile for a model whose state-dict keys must not change.

Invariant: the model stays the owner of its parameters, buffers and masks; what is compiled is only
called. Every shape of batch is compiled by itself, so that which shapes came before cannot change
a bit of a resumed run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from impcore.errors import ConfigError

MAX_SHAPES = 64
"""Shapes of batches that are compiled at most. Beyond PyTorch's own limit (8) it would go on
uncompiled, and a resumed run, which meets the shapes in another order, to other bits.
"""


def compiled(model: nn.Module) -> Callable[..., Tensor]:
    """`model`, compiled at the first call for each shape.

    A call raises ConfigError where PyTorch cannot compile here (no C++ compiler, for one), or not
    so many shapes. Sets this limit in the whole process, and whether what is generated must be
    deterministic, as PyTorch's algorithms are now; forgets what it had compiled before.
    """
    from torch._dynamo import config, exc
    from torch._inductor import config as generated

    torch._dynamo.reset()  # models of one class share the limit, and an earlier run's count
    config.recompile_limit = MAX_SHAPES
    config.fail_on_recompile_limit_hit = True
    generated.deterministic = torch.are_deterministic_algorithms_enabled()
    run = torch.compile(model, dynamic=False)

    def call(*arguments: Any, **keywords: Any) -> Tensor:
        try:
            outputs: Tensor = run(*arguments, **keywords)
        except (exc.TorchDynamoException, exc.FailOnRecompileLimitHit) as error:
            cause = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"train.compile = true: torch.compile cannot compile the model here: {cause}; "
                "should be false"
            ) from error
        return outputs

    return call
