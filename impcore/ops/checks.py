"""Checks that ops share. Every rejection comes before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from impcore.errors import LayoutError
from impcore.ops import native

MASKED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether the tensor's elements fill its memory without gaps or overlaps, in any order."""
    return tensor.is_contiguous() or torch.ops.aten.is_non_overlapping_and_dense(tensor)


def is_lazy(tensor: torch.Tensor) -> bool:
    """Whether what lies in memory is not the values.

    The gradient of a scalar may be negated only when it is used, as in `z.conj().imag`; what a
    product with PyTorch's efficient zeros passes back are zeros without memory. To what is
    compiled, PyTorch hands the values themselves.
    """
    return not torch.compiler.is_compiling() and (tensor.is_neg() or tensor._is_zerotensor())


def check_resolved(tensor: torch.Tensor, what: str) -> None:
    """Raises NotImplementedError if the tensor's memory does not hold its values."""
    if not is_lazy(tensor):
        return
    if tensor.is_neg():
        raise NotImplementedError(
            f"{what} is negated only when used; what lies in its memory has the other sign: give "
            ".resolve_neg()"
        )
    raise NotImplementedError(f"{what} is zeros without memory: give .clone()")


def check_dense(tensor: torch.Tensor, what: str) -> None:
    """Raises LayoutError unless the tensor is dense and non-overlapping."""
    if not is_dense(tensor):
        raise LayoutError(
            f"{what} has strides {tuple(tensor.stride())} for shape {tuple(tensor.shape)}, which is"
            " not a dense, non-overlapping layout; make it contiguous first"
        )


def check_strided(tensor: torch.Tensor, what: str) -> None:
    """Raises NotImplementedError if the tensor is sparse; some of these have no strides."""
    if tensor.layout != torch.strided:
        raise NotImplementedError(f"{what} has layout {tensor.layout}; masks need dense tensors")


def check_plain(tensor: torch.Tensor, what: str) -> None:
    """Raises NotImplementedError unless the tensor is a plain dense tensor with data."""
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise NotImplementedError(
            f"{what} is a {type(tensor).__name__}; masks support plain tensors, and a selection "
            "over local shards would be wrong"
        )
    check_strided(tensor, what)
    if tensor.is_meta:
        raise NotImplementedError(f"{what} is on the meta device and has no values to rank")


def check_maskable(tensor: torch.Tensor, what: str) -> None:
    """Raises unless the tensor is a plain dense float32, bfloat16 or float16 tensor with data.

    Raises:
        TypeError: another dtype; the message says how to go on.
        NotImplementedError: sparse, quantised, meta, or a tensor subclass such as DTensor, for
            which a local selection would be wrong.
        LayoutError: gaps or overlaps (for example stride 0).
    """
    check_plain(tensor, what)
    if tensor.dtype not in MASKED_DTYPES:
        raise TypeError(
            f"{what} has dtype {tensor.dtype}; masks support float32, bfloat16 and float16: "
            "convert the model with .float(), or leave the parameter out with exclude="
        )
    check_dense(tensor, what)


def check_weights(
    numels: tuple[int, ...], tensors: Sequence[torch.Tensor], what: str
) -> list[torch.Tensor]:
    """Raises unless `tensors` are what a plan was made for: number, sizes, one dtype, one device.

    Returns them as an op takes them, with what has been read on the way.

    Raises:
        ValueError: the number of tensors, a size or a device differs.
        TypeError: the dtypes differ, or one is not supported.
    """
    found = native.read_weights(numels, tensors)
    if found is not None:
        return found
    if len(tensors) != len(numels):
        raise ValueError(f"{what} holds {len(tensors)} tensors, the plan is for {len(numels)}")
    for i, (tensor, numel) in enumerate(zip(tensors, numels, strict=True)):
        check_maskable(tensor, f"{what}[{i}]")
        if tensor.numel() != numel:
            raise ValueError(f"{what}[{i}] has {tensor.numel()} elements, the plan says {numel}")
        if tensor.dtype != tensors[0].dtype:
            raise TypeError(
                f"{what}[{i}] is {tensor.dtype}, {what}[0] is {tensors[0].dtype}: one call takes "
                "one dtype"
            )
        if tensor.device != tensors[0].device:
            raise ValueError(
                f"{what}[{i}] is on {tensor.device}, {what}[0] is on {tensors[0].device}"
            )
    return list(tensors)


def check_source(
    numels: tuple[int, ...],
    source: Sequence[torch.Tensor] | None,
    weights: Sequence[torch.Tensor],
) -> list[torch.Tensor]:
    """Raises unless `source` can stand in for the weights element by element in storage order.

    Returns it as an op takes it; none at all for None.

    Raises:
        ValueError, TypeError: as `check_weights`; or a dtype, device or stride is not the weight's.
    """
    if source is None:
        return []
    found = check_weights(numels, source, "source")
    for i, (weight, other) in enumerate(zip(weights, source, strict=True)):
        if other.dtype != weight.dtype:
            raise TypeError(f"source[{i}] is {other.dtype}, the weight is {weight.dtype}")
        if other.device != weight.device or other.stride() != weight.stride():
            raise ValueError(
                f"source[{i}] is on {other.device} with strides {other.stride()}, the weight is on "
                f"{weight.device} with strides {weight.stride()}"
            )
    return found


def place_of(weights: Sequence[torch.Tensor], arena: torch.Tensor) -> torch.Tensor:
    """A tensor on the device where a call runs: the first weight; without weights, the arena."""
    return weights[0] if weights else arena


def check_arena(arena: torch.Tensor, words: int, beside: torch.Tensor, what: str) -> None:
    """Raises ValueError unless `arena` is contiguous int32, `words` words on `beside`'s device."""
    if native.row_of(arena, 32, beside) == words:
        return
    if (
        arena.dtype != torch.int32
        or arena.dim() != 1
        or arena.numel() != words
        or not arena.is_contiguous()
        or arena.device != beside.device
    ):
        raise ValueError(
            f"{what} must be a contiguous int32 tensor of {words} words on {beside.device}, not "
            f"{arena.dtype} of shape {tuple(arena.shape)} on {arena.device}"
        )
