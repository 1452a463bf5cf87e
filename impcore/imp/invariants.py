"""The engine's own checks after every prune and rewind.

Invariant: a run goes on only from a state in which all of them hold; they read what was done
back from the tensors, not from what was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from impcore import ops
from impcore.errors import InvariantError

if TYPE_CHECKING:
    from impcore import Masks

_INTEGER_OF = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}


def _bits(tensor: Tensor) -> Tensor:
    return tensor.view(_INTEGER_OF[tensor.element_size()])


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise InvariantError(f"after the prune: {what}; the last checkpoint is from before it")


@torch.no_grad()
def check_prune(
    model: nn.Module,
    masks: Masks,
    *,
    before: Tensor,
    remaining: int,
    point: Mapping[str, Tensor],
) -> None:
    """Check what one prune and one rewind left.

    `before` is a copy of `masks.words` from before the prune, `remaining` the exact number of
    weights that should be alive, `point` the state that survivors should now equal bit for bit,
    and everything unmasked too (a tied parameter's other name counts as masked). Raises
    InvariantError, naming the tensor.
    """
    _require(
        masks.remaining == remaining, f"{masks.remaining} weights are alive instead of {remaining}"
    )
    revived = masks.words & ~before
    if revived.any():
        spans = zip(masks.names, masks.plan.spans, strict=True)
        name = next(name for name, span in spans if revived[span].any())
        _require(False, f"{name} has weights alive that an earlier prune had removed")
    names = set(masks.names)
    owner = {p.data_ptr(): name for name, p in zip(masks.names, masks.parameters, strict=True)}
    for name, tensor in model.state_dict().items():
        wanted = _bits(point[name])
        masked = name if name in names else owner.get(tensor.data_ptr() or -1)
        if masked is not None:
            wanted = torch.where(masks[masked], wanted, 0)
        equal = torch.equal(_bits(tensor), wanted)
        _require(equal, f"{name} is not its rewind point under the mask, bit for bit")
    alive = int(ops.bits.count(masks.words))
    _require(alive == remaining, f"the masks hold {alive} weights instead of {remaining}")


def check_fresh(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    """Check that an optimiser has no state and covers every trainable parameter once."""
    _require(not optimizer.state, f"{type(optimizer).__name__} has state from before the prune")
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    trainable = [id(p) for p in model.parameters() if p.requires_grad]
    _require(
        sorted(held) == sorted(trainable),
        f"{type(optimizer).__name__} holds {len(held)} parameters, the model {len(trainable)}",
    )
