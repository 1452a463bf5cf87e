"""What optimisers that mask in their own pass share.

Invariants: everything is checked before anything is changed; gradients reach the kernels in their
weights' storage order; options that may change from step to step, and what GradScaler decides, stay
on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from impcore.masks import Masks
from impcore.ops import checks
from impcore.ops.masked_step import check_param


class Work(NamedTuple):
    """One group's parameters that have gradients, for one step.

    Gradients are in their parameters' storage order; words[i] is a parameter's first word in the
    arena `mask`, or -1; described: `describe(params)`.
    """

    params: list[Tensor]
    grads: list[Tensor]
    words: list[int]
    mask: Tensor | None
    described: list[tuple[Any, ...]]


class MaskedOptimizer(Optimizer):
    """Base class. Its attribute `masks` tells the post-step hook of `Masks` to leave it alone."""

    # GradScaler then leaves its scale and its verdict in grad_scale and found_inf, on the device.
    _step_supports_amp_scaling = True

    def __init__(self, params: ParamsT, defaults: dict[str, Any], masks: Masks | None) -> None:
        if masks is not None and not isinstance(masks, Masks):
            raise TypeError(f"masks must be impcore.Masks or None, not {type(masks).__name__}")
        self.masks = masks
        self._scalars: dict[tuple[int, str, torch.device], tuple[float, Tensor]] = {}
        self.check_options(defaults)
        super().__init__(params, defaults)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "masks": self.masks}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._scalars = {}
        super().__setstate__(state)

    def check_options(self, options: dict[str, Any]) -> None:
        """Raises ValueError unless the options of a group make sense."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters with its own options, as torch.optim.Optimizer does.

        Raises:
            TypeError, ValueError: an option or a parameter's dtype is wrong.
            LayoutError: a parameter has gaps or overlaps in memory.
            NotImplementedError: a sparse parameter, or a subclass such as DTensor.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self.check_options(group)
            for i, param in enumerate(group["params"]):
                check_param(param, self._name(group, i))
        except Exception:
            self.param_groups.pop()
            raise

    def _name(self, group: dict[str, Any], i: int) -> str:
        position = next(n for n, other in enumerate(self.param_groups) if other is group)
        name = f" ({group['param_names'][i]})" if "param_names" in group else ""
        return f"parameter {i} of group {position}{name}"

    def gather(self, group: dict[str, Any]) -> Work:
        """What a step does for one group, checked; changes nothing.

        Raises:
            TypeError, ValueError, LayoutError, NotImplementedError: a parameter or a gradient that
                cannot be stepped, by name.
        """
        params = [p for p in group["params"] if p.grad is not None]
        grads = [p.grad for p in params]
        plain = [g.layout for g in grads].count(torch.strided) == len(grads)
        if not (plain and all(map(_is_dense, params))):
            self._refuse(group)
        described = describe(params)
        if describe(grads) != described:
            self._refuse(group)
            grads = [like(p, g) for p, g in zip(params, grads, strict=True)]
        words = [-1] * len(params) if self.masks is None else self.masks.words_of(params)
        mask = None
        if self.masks is not None and max(words, default=-1) >= 0:
            mask = self.masks.words
            if torch.float64 in [p.dtype for p in params]:
                self._refuse(group)
        return Work(params, grads, words, mask, described)

    def _refuse(self, group: dict[str, Any]) -> None:
        """Raises for the first parameter or gradient of a group that cannot be stepped, if any."""
        for i, param in enumerate(group["params"]):
            if param.grad is None:
                continue
            name = self._name(group, i)
            check_param(param, name)
            _check_grad(param, param.grad, name)
            masked = self.masks is not None and self.masks.words_of([param]) != [-1]
            if masked and param.dtype not in checks.MASKED_DTYPES:
                raise TypeError(
                    f"{name} is masked and has become {param.dtype}; masks support "
                    f"{checks.MASKED_DTYPES}"
                )

    def on_device(self, group: dict[str, Any], option: str, device: torch.device) -> Tensor:
        """An option as a scalar on the device: the user's own tensor, or one that is kept."""
        value = group[option]
        if isinstance(value, Tensor):
            dtype = torch.float32 if value.dtype == torch.float32 else torch.float64
            return value.detach().to(device, dtype, non_blocking=True)
        if torch.compiler.is_compiling():
            return torch.full((), value, dtype=torch.float64, device=device)
        key = (id(group), option, device)
        if key not in self._scalars:
            scalar = torch.full((), value, dtype=torch.float64, device=device)
            self._scalars[key] = (value, scalar)
        known, scalar = self._scalars[key]
        if known != value:
            self._scalars[key] = (value, scalar.fill_(value))
        return scalar

    def from_scaler(self, attribute: str, device: torch.device) -> Tensor | None:
        """What GradScaler left for this step, on the device; None without one."""
        value = getattr(self, attribute, None)
        if value is None:
            return None
        return torch.as_tensor(value, dtype=torch.float32, device=device)


def describe(tensors: Sequence[Tensor]) -> list[tuple[Any, ...]]:
    """What must be equal for tensors to be read side by side in storage order."""
    return [(t.dtype, t.device, t.stride(), t.numel()) for t in tensors]


def like(param: Tensor, values: Tensor) -> Tensor:
    """The values in the parameter's storage order, dtype and device: themselves, or a copy.

    Raises:
        ValueError: another shape.
    """
    if values.shape != param.shape:
        raise ValueError(
            f"a loaded state has shape {tuple(values.shape)}, its parameter {tuple(param.shape)}"
        )
    if describe([values]) == describe([param]):
        return values
    return torch.empty_like(param).copy_(values)


def batches(params: Sequence[Tensor], flags: Sequence[Tensor | None]) -> list[list[int]]:
    """Which parameters go into one launch: those of one dtype, one device and one flag."""
    found: dict[Any, list[int]] = {}
    for i, (param, flag) in enumerate(zip(params, flags, strict=True)):
        found.setdefault((param.dtype, param.device, id(flag)), []).append(i)
    return list(found.values())


def _is_dense(tensor: Tensor) -> bool:
    return (
        tensor.is_contiguous()
        or tensor.is_contiguous(memory_format=torch.channels_last)
        or checks.is_dense(tensor)
    )


def _check_grad(param: Tensor, grad: Tensor, name: str) -> None:
    if grad.layout is not torch.strided:
        raise NotImplementedError(
            f"the gradient of {name} has layout {grad.layout}; only dense gradients can be stepped "
            "(nn.Embedding makes them with sparse=False)"
        )
    if (grad.dtype, grad.device, grad.shape) != (param.dtype, param.device, param.shape):
        raise ValueError(
            f"the gradient of {name} is {grad.dtype} of shape {tuple(grad.shape)} on "
            f"{grad.device}, the parameter {param.dtype} of shape {tuple(param.shape)} on "
            f"{param.device}"
        )
