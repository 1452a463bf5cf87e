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


def compiled(model: nn.Module) -> Callable[..., Tensor]:
    """`model`, compiled at the first call for each shape.

    A call raises ConfigError where PyTorch cannot compile here (no C++ compiler, for one).
    """
    run = torch.compile(model, dynamic=False)

    def call(*arguments: Any, **keywords: Any) -> Tensor:
        from torch._dynamo.exc import TorchDynamoException

        try:
            outputs: Tensor = run(*arguments, **keywords)
        except TorchDynamoException as error:
            cause = str(error).strip().partition("\n")[0]
            raise ConfigError(
                f"train.compile = true: torch.compile cannot compile the model here: {cause}; "
                "should be false"
            ) from error
        return outputs

    return call
