"""A pruned model in forms that need no impcore: a dense state dict, sparse CSR tensors, ONNX.

None of them is faster by itself: dense kernels multiply the zeros too. See docs/export.md.
Invariant: the model, its masks and its modes are left as they were; a pruned weight is +0 or absent
in what comes out, and an alive one has the bits that the model holds.
"""

from __future__ import annotations

import importlib.util
import math
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from impcore.errors import MissingExtraError
from impcore.masks import Masks, masks_of
from impcore.unwrap import unwrap

_ONNX_NEEDS = ("onnx", "onnxscript")


def dense(model: nn.Module) -> dict[str, Tensor]:
    """The state dict as contiguous copies on the CPU, with the model's own names.

    For `torch.save` or `safetensors.torch.save_file`, and for any code that knows the architecture.
    Pruned weights are 0 under each name of a tied parameter. What a module adds that is no tensor
    (`get_extra_state`) is left out.

    Raises:
        NotImplementedError: a tensor is sharded, sparse or on the meta device; the message names it
            and says how to go on.
    """
    inner, masks = unwrap(model), masks_of(model)
    kept = _whole(inner)
    for name, tensor in kept.items():
        if tensor.layout != torch.strided or tensor.is_meta:
            kind = "on the meta device" if tensor.is_meta else f"of layout {tensor.layout}"
            raise NotImplementedError(
                f"{name} is {kind}; only dense tensors with data are exported"
            )
    state = {name: _copy(tensor) for name, tensor in kept.items()}
    if masks is not None:
        for name, mask in _masks(inner, masks):
            state[name].masked_fill_(~mask, 0)
    return state


def csr(model: nn.Module) -> dict[str, Tensor]:
    """`dense` with each masked parameter as torch.sparse_csr of shape [rows, columns].

    A convolution's weight [out, in / groups, ...] becomes [out, in / groups * ...]. Exactly the
    alive weights are stored, also those that happen to be 0, so the mask can be read off.

    Raises:
        ValueError: the model has no masks.
        NotImplementedError: as `dense`.
    """
    inner, masks = unwrap(model), masks_of(model)
    if masks is None:
        raise ValueError(f"{type(inner).__name__} has no masks; prune it, or use export.dense")
    state = dense(inner)
    for name, mask in _masks(inner, masks):
        state[name] = _csr(state[name], mask)
    return state


def onnx(
    model: nn.Module, path: str | os.PathLike[str], inputs: tuple[Any, ...], **options: Any
) -> None:
    """Writes the model, in evaluation mode, as an ONNX file with zeros where weights are pruned.

    Args:
        model: any that torch.onnx.export takes.
        path: the file to write.
        inputs: example arguments of the model's forward.
        options: further keywords of torch.onnx.export, such as input_names or dynamic_shapes.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        NotImplementedError: a tensor of the model is sharded; the message names it.
    """
    for package in _ONNX_NEEDS:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f"export.onnx needs the package {package}: pip install impcore[onnx]"
            )
    inner = unwrap(model)
    _whole(inner)
    modes = [(module, module.training) for module in inner.modules()]
    try:
        inner.eval()
        torch.onnx.export(inner, inputs, os.fspath(path), **{"verbose": False, **options})
    finally:
        for module, training in modes:
            module.training = training


def _whole(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of the state dict; raises NotImplementedError if one is sharded."""
    found = {name: t for name, t in model.state_dict().items() if isinstance(t, Tensor)}
    for name, tensor in found.items():
        if hasattr(tensor, "full_tensor"):  # a DTensor, whose class takes long to import
            raise NotImplementedError(
                f"{name} is a {type(tensor).__name__}, sharded over processes; export a model that "
                "is not, with what torch.distributed.checkpoint.state_dict.get_model_state_dict "
                "returns under StateDictOptions(full_state_dict=True)"
            )
    return found


def _copy(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU, made at once."""
    found = tensor.detach()
    plain = found.cpu().contiguous()
    return plain.clone() if plain is found else plain


def _masks(model: nn.Module, masks: Masks) -> Iterator[tuple[str, Tensor]]:
    """The mask of each masked parameter under all of its names, on the CPU, one after the other."""
    for name, _ in model.named_parameters(remove_duplicate=False):
        if name in masks:
            yield name, masks[name].cpu().contiguous()


def _csr(weight: Tensor, mask: Tensor) -> Tensor:
    rows, columns = weight.shape[0], math.prod(weight.shape[1:])
    values, alive = weight.reshape(rows, columns), mask.reshape(rows, columns)
    pointers = torch.zeros(rows + 1, dtype=torch.int64, device="cpu")
    pointers[1:] = alive.sum(1).cumsum(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            pointers,
            alive.nonzero()[:, 1].clone(),  # a view would keep the rows' numbers, in files too
            values[alive],
            size=values.shape,
            device="cpu",
            check_invariants=True,
        )
