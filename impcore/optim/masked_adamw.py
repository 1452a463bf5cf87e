"""MaskedAdamW: the update of torch.optim.AdamW and the masks, in one pass over the weights.

Invariant: after every step that is not skipped, weight and states are exactly +0 wherever the mask
is 0, whatever the gradient holds there; a refused or skipped step changes nothing and is not
counted.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from impcore.masks import Masks
from impcore.ops.masked_adamw import unchecked
from impcore.ops.step_tensors import StepTensors
from impcore.optim.masked_optimizer import MaskedOptimizer
from impcore.optim.options import check_number, two_of
from impcore.optim.work import Kept, Work


class MaskedAdamW(MaskedOptimizer):
    """torch.optim.AdamW whose pruned weights and states stay exactly 0.

    Takes what torch.optim.AdamW takes; their state_dicts are interchangeable. Arithmetic is in
    float32 for bfloat16 and float16 weights, with one rounding. The step is counted on the device,
    as with capturable=True. With torch.amp.GradScaler gradients are unscaled inside the pass
    (`.grad` stays scaled), and a skipped step touches nothing and is not counted.

    Args:
        params: parameters, groups or named parameters; float32, bfloat16, float16 or (unmasked)
            float64, in dense layouts. Those that `masks` does not cover are stepped densely.
        lr: learning rate >= 0, a number or a one-element tensor.
        betas: decay rates in [0, 1) of the averages of the gradient and of its square, both numbers
            or both one-element tensors.
        eps: >= 0, added to the root in the denominator.
        weight_decay: decoupled, >= 0, a number or a one-element tensor.
        amsgrad: divide by the largest average of squares so far.
        maximize: ascend instead of descend.
        foreach, fused, capturable: taken for torch.optim.AdamW's sake; the step is one fused pass
            without host reads anyway.
        differentiable: must be False.
        masks: the live masks of the model (impcore.Masks). None: the step is dense, and masks that
            the model has are applied after it, as with any optimiser. Masks that cover none of the
            parameters are told of by a warning.

    Raises:
        ValueError: an option is out of range. TypeError: it is no number; a dtype; `masks` is no
            impcore.Masks.
        LayoutError: a parameter has gaps or overlaps in memory.
        NotImplementedError: differentiable, or parameters that are not plain dense tensors.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019), algorithm 2;
    Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond" (ICLR 2018), for amsgrad.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Tensor = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        masks: Masks | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            # torch.optim.AdamW has it among its options, as an Adam that it is.
            "decoupled_weight_decay": True,
        }
        super().__init__(params, defaults, masks)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True
            for option in ("amsgrad", "maximize", "capturable", "differentiable"):
                group.setdefault(option, False)
            for param in group["params"]:
                kept = self.state.get(param, {})
                if isinstance(kept.get("step"), (int, float)):  # as PyTorch had it before 1.12
                    kept["step"] = torch.full((), kept["step"], device=param.device)

    def _check_options(self, options: dict[str, Any]) -> None:
        """Raises unless the options of a group make sense, as torch.optim.AdamW does."""
        super()._check_options(options)
        check_number("eps", options["eps"])
        betas = two_of(options["betas"])
        if len({isinstance(beta, Tensor) for beta in betas}) != 1:
            raise ValueError(f"betas are {betas}; they must be two numbers or two tensors")
        for i, beta in enumerate(betas):
            check_number(f"betas[{i}]", beta, below=1)

    def _state_keys(self, group: dict[str, Any]) -> tuple[list[str], str | None]:
        """Both averages, the largest squares with amsgrad, and the counts of steps."""
        largest = ["max_exp_avg_sq"] if group["amsgrad"] else []
        return ["exp_avg", "exp_avg_sq", *largest], "step"

    def _kept(self, group: dict[str, Any], todo: Work) -> Kept:
        """Both averages, the largest squares (none without amsgrad) and the counts of steps."""
        exp_avgs: list[Tensor] = []
        exp_avg_sqs: list[Tensor] = []
        largest: list[Tensor] = []
        steps: list[Tensor] = []
        self._init_group(group, exp_avgs, exp_avg_sqs, largest, steps)
        for i, param in enumerate(todo.params):
            if steps[i].numel() != 1:
                raise ValueError(
                    f"a state's step has shape {tuple(steps[i].shape)}; it must be one element"
                )
            if (steps[i].dtype, steps[i].device) != (torch.float32, param.device):
                steps[i] = steps[i].to(param.device, torch.float32)
                self.state[param]["step"] = steps[i]
        averages = {"exp_avg": exp_avgs, "exp_avg_sq": exp_avg_sqs}
        if group["amsgrad"]:
            averages["max_exp_avg_sq"] = largest
        lists = [self._in_order(todo, key, values) for key, values in averages.items()]
        return Kept(lists, steps, [])

    def _init_group(
        self,
        group: dict[str, Any],
        exp_avgs: list[Tensor],
        exp_avg_sqs: list[Tensor],
        largest: list[Tensor],
        steps: list[Tensor],
    ) -> None:
        """Appends the states of the parameters with gradients, made where absent.

        torch.compile knows this method's name: it runs it outside of the graph, to which it hands
        the tensors in the lists.
        """
        for param in group["params"]:
            if param.grad is None:
                continue
            state = self.state[param]
            if "step" not in state:
                # All at once: where memory runs out in between, the next step makes them anew.
                state.update(
                    step=torch.zeros((), dtype=torch.float32, device=param.device),
                    exp_avg=torch.zeros_like(param),
                    exp_avg_sq=torch.zeros_like(param),
                )
            if group["amsgrad"] and "max_exp_avg_sq" not in state:
                state["max_exp_avg_sq"] = torch.zeros_like(param)
            exp_avgs.append(state["exp_avg"])
            exp_avg_sqs.append(state["exp_avg_sq"])
            steps.append(state["step"])
            if group["amsgrad"]:
                largest.append(state["max_exp_avg_sq"])

    def _launch(self, group: dict[str, Any], on: StepTensors, first: Tensor | None) -> None:
        """Steps parameters of one dtype and one device; there are no flags."""
        device = on.params[0].device
        beta1, beta2 = two_of(group["betas"])
        decay = group["weight_decay"]
        scalars = self._scalars.of(
            group, device, lr=group["lr"], beta1=beta1, beta2=beta2, weight_decay=decay
        )
        unchecked(on, *scalars, group["eps"], group["maximize"], *self._from_scaler(device))
