"""Masks to and from torch.nn.utils.prune: its `weight_orig`, `weight_mask` and forward hook.

Invariant: alive weights keep their bits and Parameters their identity, both ways, so optimisers
stay valid; and what cannot be taken over is refused before anything is changed.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.utils.prune as torch_prune
from torch import Tensor, nn

from impcore.ops.checks import check_plain
from impcore.scope import PRUNABLE_LAYERS, check_maskable
from impcore.unwrap import unwrap

if TYPE_CHECKING:
    from impcore.masks import Masks

_NAME = "weight"


def install(model: nn.Module, masks: Mapping[str, Tensor], live: Masks | None) -> None:
    """Prunes the parameters of `model` by torch.nn.utils.prune, under masks by parameter name.

    `live` masks of the model are released first.

    Raises:
        ValueError: a parameter is missing, has another shape, or is pruned that way already.
        NotImplementedError: one is sharded, sparse or on the meta device. Nothing has been changed.
    """
    found = {name: _layer(model, name) for name in masks}
    for name, mask in masks.items():
        weight = found[name]._parameters.get(_NAME)
        if weight is None:
            raise ValueError(f"{name} is no parameter of the model, or is computed from others")
        check_plain(weight, name)
        if weight.shape != mask.shape:
            raise ValueError(
                f"{name} has shape {tuple(weight.shape)}, its mask {tuple(mask.shape)}"
            )
    if live is not None:
        live.release()
    for name, mask in masks.items():
        weight = found[name]._parameters[_NAME]
        assert weight is not None
        torch_prune.custom_from_mask(found[name], _NAME, mask.to(weight.device))  # type: ignore[no-untyped-call]


def take(model: nn.Module, kind: type[Masks]) -> Masks:
    """Masks, of class `kind`, of a model that torch.nn.utils.prune has pruned, which is undone.

    Raises:
        ValueError: nothing is pruned that way; something other than the weight of a Linear or
            convolution layer is; a mask is not of 0 and 1; tied weights have different masks; a
            weight is frozen. Nothing has been changed.
        TypeError, NotImplementedError, LayoutError: a weight cannot be masked, by name.
    """
    model = unwrap(model)
    pruned = _find(model)
    _check(pruned)
    for layer in pruned.values():
        layer.undo()
    try:
        masks = kind(model, include=[glob.escape(name) for name in pruned])
    except BaseException:
        for layer in pruned.values():
            layer.redo()
        raise
    for name, layer in pruned.items():
        masks[name] = layer.mask != 0
    return masks


@dataclass(frozen=True)
class _Pruned:
    """A layer as torch.nn.utils.prune has it: the parametrised weight and what replaced it."""

    module: nn.Module
    original: nn.Parameter
    mask: Tensor
    state: Mapping[str, dict[Any, Any]]

    @staticmethod
    def of(module: nn.Module) -> _Pruned:
        parameters, buffers = module._parameters, module._buffers
        original, mask = parameters[f"{_NAME}_orig"], buffers[f"{_NAME}_mask"]
        assert original is not None
        assert mask is not None
        held = ("_parameters", "_buffers", "_forward_pre_hooks")
        state = {key: dict(getattr(module, key)) for key in held}
        return _Pruned(module, original, mask, state)

    def undo(self) -> None:
        """The original Parameter is the weight again, before the bias as the layer was built."""
        module = self.module
        module.__dict__.pop(_NAME, None)
        for key, hook in list(module._forward_pre_hooks.items()):
            if isinstance(hook, torch_prune.BasePruningMethod):
                del module._forward_pre_hooks[key]
        del module._buffers[f"{_NAME}_mask"]
        rest = {n: p for n, p in module._parameters.items() if n != f"{_NAME}_orig"}
        module._parameters.clear()
        module._parameters.update({_NAME: self.original, **rest})

    def redo(self) -> None:
        """As it was before `undo`."""
        for key, content in self.state.items():
            held = getattr(self.module, key)
            held.clear()
            held.update(content)
        setattr(self.module, _NAME, self.original * self.mask)


def _layer(model: nn.Module, name: str) -> nn.Module:
    path, _, last = name.rpartition(".")
    try:
        module = model.get_submodule(path)
    except AttributeError:
        module = None
    if module is None or last != _NAME:
        raise ValueError(f"{name} is not the weight of a layer of the model")
    return module


def _find(model: nn.Module) -> dict[str, _Pruned]:
    """The pruned layers by the names that their weights will have."""
    found = {}
    for path, module in model.named_modules():
        for hook in module._forward_pre_hooks.values():
            if not isinstance(hook, torch_prune.BasePruningMethod):
                continue
            name = f"{path}.{hook._tensor_name}" if path else hook._tensor_name
            if hook._tensor_name != _NAME or not isinstance(module, PRUNABLE_LAYERS):
                raise ValueError(
                    f"torch.nn.utils.prune prunes {name} of a {type(module).__name__}; only "
                    "weights of Linear and convolution layers can be taken over: undo it with "
                    "torch.nn.utils.prune.remove"
                )
            found[name] = _Pruned.of(module)
    if not found:
        raise ValueError(f"nothing in {type(model).__name__} is pruned by torch.nn.utils.prune")
    return found


def _check(pruned: Mapping[str, _Pruned]) -> None:
    check_maskable({name: layer.original for name, layer in pruned.items()})
    first: dict[int, str] = {}
    for name, layer in pruned.items():
        if not layer.original.requires_grad:
            raise ValueError(f"{name} is frozen (requires_grad=False) and cannot be masked")
        if (
            layer.mask.shape != layer.original.shape
            or not ((layer.mask == 0) | (layer.mask == 1)).all()
        ):
            raise ValueError(f"the mask of {name} is not of its shape, or not of 0 and 1 alone")
        other = first.setdefault(layer.original.data_ptr() or id(layer), name)
        if not torch.equal(pruned[other].mask, layer.mask):
            raise ValueError(f"{other} and {name} are tied, but have different masks")
