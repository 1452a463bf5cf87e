"""What calls into the native module `impcore._C` need: addresses and dtype codes.

The module reads tensors by itself, in a fraction of the time that their methods take. What it
cannot read it leaves to the caller: subclasses, sparse tensors, whatever torch.compile traces, and
all of them under a PyTorch that does not publish `__dlpack_c_exchange_api__`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from impcore import _C

# csrc/keys.h: enum DType.
DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2, torch.float64: 3}

if hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
    _C.read_tensors_by(torch.Tensor.__dlpack_c_exchange_api__, torch.Tensor, torch.nn.Parameter)


gather = _C.gather
"""What a step is applied to of a group, as `StepTensors` has it, if all of that is certain.

Of (params, state, keys, counter, places): the parameters that have gradients, these, the states
under each key, and the counts of steps, if there is a counter: all dense, of one dtype and device,
in one storage order, which is that of the bits in `places` too. None also if there is nothing to
step. Not to be traced.
"""


class Weights(list[torch.Tensor]):
    """Tensors that fit a plan for `numels`, and what the native module has read of them.

    To be used at once, as what they hold may change.
    """

    __slots__ = ("numels", "operands")

    def __init__(
        self, tensors: Sequence[torch.Tensor], numels: tuple[int, ...], operands: _C.Operands
    ) -> None:
        super().__init__(tensors)
        self.numels, self.operands = numels, operands


def read_weights(numels: tuple[int, ...], tensors: Sequence[torch.Tensor]) -> Weights | None:
    """The tensors, if they certainly are weights that a plan for these sizes fits.

    Dense, of one dtype that masks support, and on one device.
    """
    if isinstance(tensors, Weights) and tensors.numels == numels:
        return tensors
    if torch.compiler.is_compiling():
        return None
    operands = _C.Operands.read(numels, list(tensors))
    return None if operands is None else Weights(tensors, numels, operands)


def row_of(tensor: torch.Tensor, bits: int, beside: torch.Tensor) -> int:
    """How many int64, int32 or uint8 this row of them has, if it certainly is one; else -1.

    1-D, without gaps, on the device of `beside`; bytes at an address that is a multiple of 8.
    """
    return -1 if torch.compiler.is_compiling() else _C.row_of(tensor, bits, beside)


def are_laid_out(
    tensors: Sequence[torch.Tensor],
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[tuple[int, ...]],
    beside: torch.Tensor,
) -> bool:
    """Whether these certainly are on the device of `beside` and have these shapes and strides."""
    if torch.compiler.is_compiling():
        return False
    return _C.are_laid_out(tensors, shapes, strides, beside)


def addresses(tensors: Sequence[torch.Tensor]) -> list[int]:
    """The address of each tensor's first element."""
    return [t.data_ptr() for t in tensors]


def address(tensor: torch.Tensor | None) -> int:
    """The address of a tensor's first element; 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()


def operands(tensors: Sequence[torch.Tensor]) -> _C.Operands:
    """A plan's tensors as the native ops take them; of `Weights` at no second look."""
    if isinstance(tensors, Weights):
        return tensors.operands
    dtype = tensors[0].dtype if tensors else torch.float32
    return _C.Operands(DTYPE_CODES[dtype], addresses(tensors))


def step_args(
    params: list[torch.Tensor],
    grads: list[torch.Tensor],
    states: list[list[torch.Tensor]],
    counts: list[torch.Tensor],
    mask: torch.Tensor | None,
    words: list[int],
) -> _C.StepArgs:
    """What every optimiser's step begins with; states: a list a kind, in the kernel's order."""
    return _C.StepArgs(
        DTYPE_CODES[params[0].dtype],
        addresses(params),
        addresses(grads),
        [addresses(state) for state in states],
        addresses(counts),
        [p.numel() for p in params],
        words,
        address(mask),
    )
