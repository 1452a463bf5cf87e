"""What optimisers that mask in their own pass share.

Invariants: everything is checked before anything is stepped; gradients reach the kernels in their
weights' storage order; what GradScaler decides stays on the device.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from operator import is_
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.optim.optimizer import Optimizer, ParamsT

from impcore.masks import Masks
from impcore.ops import checks, library, native
from impcore.ops.masked_step import check_param
from impcore.ops.step_tensors import StepTensors
from impcore.optim.hooked import hooked
from impcore.optim.options import Scalars, check_number, check_numbers
from impcore.optim.work import (
    Kept,
    Launch,
    Work,
    check_grad,
    describe,
    is_dense,
    launches,
    like,
)


class MaskedOptimizer(Optimizer):
    """Base class. Its attribute `masks` tells the post-step hook of `Masks` to leave it alone."""

    # GradScaler then leaves its scale and its verdict in grad_scale and found_inf, on the device.
    _step_supports_amp_scaling = True

    def __init__(self, params: ParamsT, defaults: dict[str, Any], masks: Masks | None) -> None:
        if masks is not None and not isinstance(masks, Masks):
            raise TypeError(f"masks must be impcore.Masks or None, not {type(masks).__name__}")
        self.masks = masks
        self._scalars = Scalars()
        self._check_options(defaults)
        super().__init__(params, defaults)
        stepped = {id(p) for group in self.param_groups for p in group["params"]}
        if masks is not None and not masks.among(stepped):
            warnings.warn(
                "masks= covers none of the optimiser's parameters, which will be stepped densely: "
                "are they another model's?",
                stacklevel=3,
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "masks": self.masks}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._scalars = Scalars()
        super().__setstate__(state)

    def _check_options(self, options: dict[str, Any]) -> None:
        """Raises unless the options of a group make sense, as torch's optimisers do.

        Raises:
            TypeError: one is no number. ValueError: one is out of range.
            NotImplementedError: differentiable.
        """
        check_numbers(options, options)
        for name in ("lr", "weight_decay"):
            check_number(name, options[name])
        if options["differentiable"]:
            raise NotImplementedError("differentiable is True; the fused pass has no gradient")

    def _state_keys(self, group: dict[str, Any]) -> tuple[list[str], str | None]:
        """Under which keys a group's states are kept, and the counters of steps, if any."""
        raise NotImplementedError

    def _flags_of(self, group: dict[str, Any], params: list[Tensor]) -> list[Tensor | None]:
        """The flags of parameters whose states are there; see `Kept`."""
        return []

    def _kept(self, group: dict[str, Any], todo: Work) -> Kept:
        """The states that go with a group's gradients, made where absent."""
        raise NotImplementedError

    def _launch(self, group: dict[str, Any], on: StepTensors, first: Tensor | None) -> None:
        """Steps parameters of one dtype, one device and one flag."""
        raise NotImplementedError

    @hooked
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step over all parameters that have gradients.

        Args:
            closure: evaluates the model again and returns the loss, which is returned.

        Raises:
            TypeError, ValueError, LayoutError, NotImplementedError: a parameter or a gradient that
                cannot be stepped, by name; nothing has been stepped.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        planned = self._launches()
        for group in self.param_groups[1:]:  # the first launch reads its own before it writes
            check_numbers(group, self.defaults)
        for group, ready in zip(self.param_groups, planned, strict=True):
            for on, first in ready:
                self._launch(group, on, first)
        return loss

    @torch.no_grad()
    def _made_ready(self, usual: list[list[Launch] | None]) -> list[list[Launch]]:
        """What is to be launched for each group, those that are not as `usual` with care.

        Nothing of it is launched before all of it has been checked; states that are absent may have
        been made by then, of zeros.
        """
        if not is_compiling():
            library.refuse_fake()
        for group in self.param_groups:
            check_numbers(group, self.defaults)
        todo = [
            self._gather(group) if ready is None else None
            for group, ready in zip(self.param_groups, usual, strict=True)
        ]
        made = [
            (ready or []) if work is None else launches(work, self._kept(group, work))
            for group, ready, work in zip(self.param_groups, usual, todo, strict=True)
        ]
        if not is_compiling():
            self._sort_states()
        return made

    def _sort_states(self) -> None:
        """Puts the states in their parameters' order, in which the native walk looks for them.

        They are in another one where a parameter has had its first gradient after others. Then all
        are replaced at once, so that an interrupt loses none.
        """
        params = [param for group in self.param_groups for param in group["params"]]
        ordered = {param: self.state[param] for param in params if param in self.state}
        if not all(map(is_, ordered, self.state)):
            self.state = defaultdict(dict, {**ordered, **self.state})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As torch.optim.Optimizer's."""
        if not set_to_none:
            _untraced(super().zero_grad)(set_to_none)
            return
        for group in self.param_groups:  # torch's tells the profiler, which costs as much again
            for param in group["params"]:
                param.grad = None

    def state_dict(self) -> dict[str, Any]:
        """As torch.optim.Optimizer's."""
        packed: dict[str, Any] = _untraced(super().state_dict)()
        return packed

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch.optim.Optimizer's."""
        _untraced(super().load_state_dict)(state_dict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters with its own options, as torch.optim.Optimizer does.

        Raises:
            TypeError, ValueError: an option or a parameter's dtype is wrong; a parameter is there
                twice, of which torch's optimisers warn.
            LayoutError: a parameter has gaps or overlaps in memory.
            NotImplementedError: a sparse parameter, or a subclass such as DTensor.
        """
        _untraced(super().add_param_group)(param_group)
        group = self.param_groups[-1]
        try:
            self._check_options(group)
            first: dict[Tensor, int] = {}
            for i, param in enumerate(group["params"]):
                check_param(param, self._name(group, i))
                if first.setdefault(param, i) != i:
                    raise ValueError(
                        f"{self._name(group, i)} is parameter {first[param]} again; it would be "
                        "stepped twice at once"
                    )
        except Exception:  # whatever it was, as if the group had never been added
            self.param_groups.pop()
            raise

    def _name(self, group: dict[str, Any], i: int) -> str:
        position = next(n for n, other in enumerate(self.param_groups) if other is group)
        name = f" ({group['param_names'][i]})" if "param_names" in group else ""
        return f"parameter {i} of group {position}{name}"

    def _launches(self) -> list[list[Launch]]:
        """What is to be launched for each group: in most steps what one native walk over it finds.

        Where that is not all, as something is to be made, moved or refused, it is made ready.
        """
        if is_compiling():
            return self._made_ready([None for _ in self.param_groups])
        places = None if self.masks is None else self.masks.places()
        usual: list[list[Launch] | None] = []
        met = 0
        for group in self.param_groups:
            found = native.gather(group["params"], self.state, *self._state_keys(group), places)
            if found is None:
                usual.append(None)
                continue
            on = StepTensors(*found)
            flags = self._flags_of(group, on.params)
            one = not flags or len(set(map(id, flags))) == 1
            usual.append([(on, flags[0] if flags else None)] if one else None)
            met += on.masked
        if self.masks is not None and places is not None and not self.masks.hold(met):
            usual = [None for _ in usual]
        return self._made_ready(usual) if None in usual else usual  # type: ignore[return-value]

    def _place(self, params: list[Tensor]) -> tuple[list[int], Tensor | None]:
        """Each parameter's first word in the arena, or -1; the arena if any of them is masked."""
        return ([-1] * len(params), None) if self.masks is None else self.masks.place(params)

    def _gather(self, group: dict[str, Any]) -> Work:
        """What a step does for one group, checked; changes nothing.

        Raises:
            TypeError, ValueError, LayoutError, NotImplementedError: a parameter or a gradient that
                cannot be stepped, by name.
        """
        params = [p for p in group["params"] if p.grad is not None]
        grads = [p.grad for p in params]
        plain = [g.layout for g in grads].count(torch.strided) == len(grads)
        if not (plain and all(map(is_dense, params))) or any(map(checks.is_lazy, params)):
            self._refuse(group)
        described = describe(params)
        if describe(grads) != described or any(map(checks.is_lazy, grads)):
            self._refuse(group)
            grads = [like(p, g) for p, g in zip(params, grads, strict=True)]
        words, mask = self._place(params)
        if mask is not None and torch.float64 in [dtype for dtype, *_ in described]:
            self._refuse(group)
        return Work(params, grads, words, mask, described)

    def _refuse(self, group: dict[str, Any]) -> None:
        """Raises for the first parameter or gradient of a group that cannot be stepped, if any."""
        for i, param in enumerate(group["params"]):
            if param.grad is None:
                continue
            name = self._name(group, i)
            check_param(param, name)
            check_grad(param, param.grad, name)
            masked = self.masks is not None and self.masks.words_of([param]) != [-1]
            if masked and param.dtype not in checks.MASKED_DTYPES:
                raise TypeError(
                    f"{name} is masked and has become {param.dtype}; masks support "
                    f"{checks.MASKED_DTYPES}"
                )

    def _in_order(self, todo: Work, key: str, values: list[Tensor]) -> list[Tensor]:
        """The states under a key in their parameters' storage order, dtype and device.

        They are not when they were loaded, or when the model has been moved; then they are moved.
        """
        if describe(values) == todo.described:
            return values
        values = [like(p, v) for p, v in zip(todo.params, values, strict=True)]
        for param, value in zip(todo.params, values, strict=True):
            self.state[param][key] = value
        return values

    def _from_scaler(self, device: torch.device) -> tuple[Tensor | None, Tensor | None]:
        """The scale and the verdict that GradScaler left for this step, on the device, if any."""
        grad_scale = getattr(self, "grad_scale", None)
        found_inf = getattr(self, "found_inf", None)
        if grad_scale is not None:
            grad_scale = torch.as_tensor(grad_scale, dtype=torch.float32, device=device)
        if found_inf is not None:
            found_inf = torch.as_tensor(found_inf, dtype=torch.float32, device=device)
        return grad_scale, found_inf


def _untraced(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of torch's, without what keeps torch.compile out of it, unless that is at work.

    Its first call would import the compiler, which takes a second.
    """
    if is_compiling() or not hasattr(method, "__wrapped__"):
        return method
    return partial(method.__wrapped__, method.__self__)  # type: ignore[attr-defined]
