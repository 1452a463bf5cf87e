"""MaskedSGD: the update of torch.optim.SGD and the masks, in one pass over the weights.

Invariant: after every step that is not skipped, weight and momentum are exactly +0 wherever the
mask is 0, whatever the gradient holds there; a refused or skipped step changes nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from impcore.masks import Masks
from impcore.ops.masked_sgd import unchecked
from impcore.ops.step_tensors import StepTensors
from impcore.optim.masked_optimizer import MaskedOptimizer
from impcore.optim.options import check_number
from impcore.optim.work import Kept, Work


class MaskedSGD(MaskedOptimizer):
    """torch.optim.SGD whose pruned weights and momenta stay exactly 0.

    Takes what torch.optim.SGD takes; their state_dicts are interchangeable. Arithmetic is in
    float32 for bfloat16 and float16 weights, with one rounding. With torch.amp.GradScaler gradients
    are unscaled inside the pass (`.grad` stays scaled), and a skipped step touches nothing.

    Args:
        params: parameters, groups or named parameters; float32, bfloat16, float16 or (unmasked)
            float64, in dense layouts. Those that `masks` does not cover are stepped densely.
        lr: learning rate >= 0, a number or a one-element tensor.
        momentum: >= 0.
        dampening: of the gradient in the momentum, from the second step on.
        weight_decay: L2 penalty >= 0, a number or a one-element tensor.
        nesterov: needs momentum > 0 and dampening 0.
        maximize: ascend instead of descend.
        foreach, fused: taken for torch.optim.SGD's sake; the step is one fused pass anyway.
        differentiable: must be False.
        masks: the live masks of the model (impcore.Masks). None: the step is dense, and masks that
            the model has are applied after it, as with any optimiser. Masks that cover none of the
            parameters are told of by a warning.

    Raises:
        ValueError: an option is out of range. TypeError: it is no number; a dtype; `masks` is no
            impcore.Masks.
        LayoutError: a parameter has gaps or overlaps in memory.
        NotImplementedError: differentiable, or parameters that are not plain dense tensors.

    Source: torch.optim.SGD; Sutskever et al., "On the importance of initialization and momentum in
    deep learning" (ICML 2013), for the momentum.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
        masks: Masks | None = None,
    ) -> None:
        # A parameter's flag is 1 while its momentum counts as absent: until its first step that
        # GradScaler does not skip, of which only the device knows.
        self._flags: dict[Tensor, Tensor] = {}
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults, masks)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_flags": self._flags}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._flags = {}
        super().__setstate__(state)
        for group in self.param_groups:
            for option in ("nesterov", "maximize", "differentiable"):
                group.setdefault(option, False)

    def _check_options(self, options: dict[str, Any]) -> None:
        """Raises unless the options of a group make sense, as torch.optim.SGD does."""
        super()._check_options(options)
        momentum, dampening = options["momentum"], options["dampening"]
        check_number("momentum", momentum)
        if options["nesterov"] and (momentum <= 0 or dampening != 0):
            raise ValueError(
                f"nesterov needs momentum > 0 and dampening 0, not {momentum} and {dampening}"
            )

    def _state_keys(self, group: dict[str, Any]) -> tuple[list[str], str | None]:
        """The momentum, if there is one."""
        return [] if group["momentum"] == 0 else ["momentum_buffer"], None

    def _flags_of(self, group: dict[str, Any], params: list[Tensor]) -> list[Tensor | None]:
        """The flags of parameters that have a momentum."""
        if group["momentum"] == 0 or not self._flags:
            return []
        if getattr(self, "found_inf", None) is not None:
            self._split_flags(params)
        return [self._flags.get(p) for p in params]

    def _kept(self, group: dict[str, Any], todo: Work) -> Kept:
        """The momenta (none without momentum) and flags that go with a group's gradients."""
        if group["momentum"] == 0:
            return Kept([], [], [])
        momenta: list[Tensor] = []
        flags: list[Tensor | None] = []
        self._init_group(group, momenta, flags)
        return Kept([self._in_order(todo, "momentum_buffer", momenta)], [], flags)

    def _init_group(
        self, group: dict[str, Any], momenta: list[Tensor], flags: list[Tensor | None]
    ) -> None:
        """Appends the momenta and flags of the parameters with gradients, made where absent.

        torch.compile knows this method's name: it runs it outside of the graph, to which it hands
        the tensors in the lists.
        """
        params = [p for p in group["params"] if p.grad is not None]
        states = [self.state[p] for p in params]
        if any(state.get("momentum_buffer") is None for state in states):
            self._make_momenta(params)
        momenta += [state["momentum_buffer"] for state in states]
        flags += self._flags_of(group, params)

    def _make_momenta(self, params: list[Tensor]) -> None:
        flags: dict[tuple[torch.device, torch.dtype], Tensor] = {}
        for param in params:
            state = self.state[param]
            if state.get("momentum_buffer") is None:
                key = (param.device, param.dtype)
                if key not in flags:
                    flags[key] = torch.ones((), dtype=torch.bool, device=param.device)
                self._flags[param] = flags[key]
                state["momentum_buffer"] = torch.zeros_like(param)

    def _split_flags(self, params: list[Tensor]) -> None:
        """Keeps a flag 1 for those that share it but have no gradient in this step."""
        all_users = Counter(map(id, self._flags.values()))
        users = Counter(id(self._flags[p]) for p in params if p in self._flags)
        own: dict[int, Tensor] = {}
        for param in params:
            flag = self._flags.get(param)
            if flag is not None and users[id(flag)] < all_users[id(flag)]:
                self._flags[param] = own.setdefault(id(flag), flag.clone())

    def _launch(self, group: dict[str, Any], on: StepTensors, first: Tensor | None) -> None:
        """Steps parameters of one dtype, one device and one flag."""
        device = on.params[0].device
        decay = group["weight_decay"]
        lr, weight_decay = self._scalars.of(group, device, lr=group["lr"], weight_decay=decay)
        grad_scale, found_inf = self._from_scaler(device)
        unchecked(
            on,
            lr,
            group["momentum"],
            group["dampening"],
            weight_decay,
            group["nesterov"],
            group["maximize"],
            first,
            grad_scale,
            found_inf,
        )
        if first is not None and found_inf is None and device.type == "cpu":
            self._forget_flags(on.params)

    def _forget_flags(self, params: list[Tensor]) -> None:
        """The step is over, and was not skipped: their flags are 0, and count as none."""
        if not torch.compiler.is_compiling():
            for param in params:
                self._flags.pop(param, None)

    def state_dict(self) -> dict[str, Any]:
        """As torch.optim.SGD's, and interchangeable with it in both directions."""
        packed = super().state_dict()
        params = [p for group in self.param_groups for p in group["params"]]
        ids = [i for group in packed["param_groups"] for i in group["params"]]
        absent = {i for i, p in zip(ids, params, strict=True) if self._is_absent(p)}
        state = {i: values for i, values in packed["state"].items() if i not in absent}
        return {**packed, "state": state}

    def _is_absent(self, param: Tensor) -> bool:
        flag = self._flags.get(param)
        return flag is not None and bool(flag.item())
