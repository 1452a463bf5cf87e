from collections.abc import Sequence
from typing import Any

from torch import Tensor

CHUNK_LENGTH: int

class Operands:
    def __init__(self, dtype: int, addresses: list[int]) -> None: ...
    @staticmethod
    def read(numels: tuple[int, ...], tensors: list[Tensor]) -> Operands | None: ...

class StepArgs:
    @property
    def words(self) -> list[int]: ...
    def __init__(
        self,
        dtype: int,
        weights: list[int],
        grads: list[int],
        states: list[list[int]],
        counts: list[int],
        numels: list[int],
        words: list[int],
        mask: int,
    ) -> None: ...

class Places:
    def __init__(self, params: list[Any], words: list[int], arena: Tensor) -> None: ...

class ModuleTree:
    @staticmethod
    def read(root: object) -> tuple[ModuleTree, list[object]] | None: ...
    def is_that_of(self, root: object) -> bool: ...

class ParameterPaths:
    def __init__(
        self, modules: list[tuple[int, str]], parameters: list[tuple[int, str]]
    ) -> None: ...
    def lead_to(self, root: object, found: Sequence[object]) -> bool: ...

def read_tensors_by(table: object, tensor: type, parameter: type) -> None: ...
def gather(
    params: list[Tensor],
    state: dict[Tensor, Any],
    keys: list[str],
    counter: str | None,
    places: Places | None,
) -> tuple[Any, ...] | None: ...
def row_of(tensor: Tensor, bits: int, beside: Tensor) -> int: ...
def are_laid_out(
    tensors: Sequence[Tensor],
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[tuple[int, ...]],
    beside: Tensor,
) -> bool: ...
def getenv(name: str) -> str | None: ...
def int64_at(address: int) -> int: ...
def isa() -> str: ...
def count_chunks(numels: list[int]) -> int: ...
def fill_chunks(numels: list[int], blocks: list[int], out: int) -> None: ...
def topk_mask_workspace(chunks: int, num_chunks: int) -> int: ...
def topk_mask(
    weights: Operands,
    chunks: int,
    num_chunks: int,
    num_blocks: int,
    mask_in: int,
    mask_out: int,
    k: int,
    workspace: int,
    status: int,
    sums_before: int,
    sums_after: int,
    bracket: tuple[int, int] | None,
    threads: int,
) -> None: ...
def commit(
    weights: Operands,
    chunks: int,
    num_chunks: int,
    sources: Operands,
    mask: int,
    mask_out: int,
    status: int,
    threads: int,
) -> None: ...
def rewind(
    weights: Operands, chunks: int, num_chunks: int, sources: Operands, mask: int, threads: int
) -> None: ...
def block_l1(
    weights: Operands,
    chunks: int,
    num_chunks: int,
    num_blocks: int,
    mask: int,
    sums: int,
    threads: int,
) -> None: ...
def masked_sgd(
    args: StepArgs,
    lr: Tensor,
    momentum: float,
    dampening: float,
    weight_decay: Tensor,
    nesterov: bool,
    maximize: bool,
    first: bool,
    grad_scale: Tensor | None,
    threads: int,
) -> None: ...
def masked_adamw(
    args: StepArgs,
    lr: Tensor,
    beta1: Tensor,
    beta2: Tensor,
    weight_decay: Tensor,
    eps: float,
    maximize: bool,
    grad_scale: Tensor | None,
    threads: int,
) -> None: ...
def pack(bools: int, numel: int, words: int, threads: int) -> None: ...
def unpack(words: int, numel: int, bools: int, threads: int) -> None: ...
def count(words: int, num_words: int, threads: int) -> int: ...
def counts(
    chunks: int, num_chunks: int, words: int, each: int, tensors: int, threads: int
) -> None: ...
def permute(
    source: int,
    target: int,
    shape: list[int],
    from_strides: list[int],
    to_strides: list[int],
    threads: int,
) -> None: ...

# A submodule, in builds with CUDA alone.
class cuda:
    class Weights:
        def __init__(self, dtype: int, chunks: int, num_chunks: int, pointers: int) -> None: ...

    class BlockOrder:
        def __init__(self, order: int, first: int, num_blocks: int) -> None: ...

    @staticmethod
    def upload(values: list[int], out: int, stream: int) -> None: ...
    @staticmethod
    def topk_mask_workspace(num_chunks: int, total: int) -> int: ...
    @staticmethod
    def topk_mask(
        weights: Weights,
        total: int,
        blocks: BlockOrder,
        mask_in: int,
        mask_out: int,
        k: int,
        workspace: int,
        status: int,
        sums_before: int,
        sums_after: int,
        bracket: tuple[int, int] | None,
        stream: int,
    ) -> None: ...
    @staticmethod
    def commit(
        weights: Weights, sources: int, mask: int, mask_out: int, status: int, stream: int
    ) -> None: ...
    @staticmethod
    def rewind(weights: Weights, sources: int, mask: int, stream: int) -> None: ...
    @staticmethod
    def block_l1_workspace(num_chunks: int) -> int: ...
    @staticmethod
    def block_l1(
        weights: Weights, blocks: BlockOrder, mask: int, workspace: int, sums: int, stream: int
    ) -> None: ...
    @staticmethod
    def pack(bools: int, numel: int, words: int, stream: int) -> None: ...
    @staticmethod
    def unpack(words: int, numel: int, bools: int, stream: int) -> None: ...
    @staticmethod
    def count(words: int, num_words: int, ones: int, stream: int) -> None: ...
    @staticmethod
    def counts(
        chunks: int, num_chunks: int, words: int, each: int, tensors: int, stream: int
    ) -> None: ...
    @staticmethod
    def permute(
        source: int,
        target: int,
        shape: list[int],
        from_strides: list[int],
        to_strides: list[int],
        stream: int,
    ) -> None: ...
    @staticmethod
    def masked_sgd(
        args: StepArgs,
        lr: Tensor,
        momentum: float,
        dampening: float,
        weight_decay: Tensor,
        nesterov: bool,
        maximize: bool,
        first: Tensor | None,
        grad_scale: Tensor | None,
        found_inf: Tensor | None,
        stream: int,
    ) -> None: ...
    @staticmethod
    def masked_adamw(
        args: StepArgs,
        lr: Tensor,
        beta1: Tensor,
        beta2: Tensor,
        weight_decay: Tensor,
        eps: float,
        maximize: bool,
        grad_scale: Tensor | None,
        found_inf: Tensor | None,
        constants: int,
        stream: int,
    ) -> None: ...
