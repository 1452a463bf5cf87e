"""What masked weights are rewound to: tensors by name, checked and brought beside the weights.

Invariant: nothing of the model is written; a source that does not fit is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from impcore.scope import address


def aligned(
    names: Sequence[str],
    parameters: Sequence[torch.nn.Parameter],
    source: Mapping[str, torch.Tensor],
) -> list[torch.Tensor]:
    """The source of each parameter, in its layout and on its device.

    Raises:
        KeyError, ValueError, TypeError: a name is missing, a shape or dtype differs, or a tensor is
            the parameter itself.
    """
    return [_aligned(name, p, source) for name, p in zip(names, parameters, strict=True)]


def _aligned(
    name: str, parameter: torch.nn.Parameter, source: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """The source of one parameter, in its layout and on its device."""
    if name not in source:
        raise KeyError(f"the rewind source lacks {name!r}")
    value = source[name]
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.is_meta:
        kind = value.layout if isinstance(value, torch.Tensor) else type(value).__name__
        raise TypeError(f"the rewind source of {name} must be a dense tensor with data, not {kind}")
    value = value.detach()
    if value.shape != parameter.shape:
        raise ValueError(
            f"the rewind source of {name} has shape {tuple(value.shape)}, the parameter "
            f"{tuple(parameter.shape)}"
        )
    if value.dtype != parameter.dtype:
        raise TypeError(
            f"the rewind source of {name} is {value.dtype}, the parameter {parameter.dtype}"
        )
    if address(value) == address(parameter):
        raise ValueError(
            f"the rewind source of {name} is the parameter itself, as a state dict holds it, and "
            "no earlier state of it; keep a copy: copy.deepcopy(model.state_dict())"
        )
    if value.stride() != parameter.stride() or value.device != parameter.device:
        value = torch.empty_like(parameter, requires_grad=False).copy_(value)
    return value
