"""Lists of integers on the device (addresses, sizes), as kernels over many tensors need them.

One copy from pinned memory makes a table of any length, without waiting; the latest are kept by
what they hold. A CUDA graph that is captured takes the tables that are there (a step's weights and
states have not moved since its warm-up); of the others (gradients, in the graph's own memory) it
copies anew at each replay, 8 bytes a tensor.

Invariants: a table in use is never written again; what a graph reads, on the device or on the
host, is never freed. No pinned memory is asked for during a capture, where PyTorch cannot give it:
a first call before it, which compiles the kernels too, sets some aside.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from impcore.errors import BackendError
from impcore.ops import native

KEPT = 64
PAGE = 1 << 16  # integers that are set aside for captures
_tables: OrderedDict[tuple[object, ...], torch.Tensor] = OrderedDict()
_captured: list[torch.Tensor] = []
_pages: list[torch.Tensor] = []  # what is left of the pinned memory set aside


@contextmanager
def on(device: torch.device) -> Iterator[None]:
    """Makes the device current: Triton launches there, on its current stream."""
    if device.type != "cuda":  # the interpreter's
        yield
        return
    with torch.cuda.device(device):
        yield


def table(values: Sequence[int], device: torch.device) -> torch.Tensor:
    """int64 [len(values)] on the device, for kernels on the current stream.

    A capture takes a table from any stream, for torch.cuda.graph waits for all of them before.
    """
    if device.type != "cuda":
        return torch.tensor(values, dtype=torch.int64, device=device)
    if torch.cuda.is_current_stream_capturing():
        return _capture(tuple(values), device)
    key = (device, torch.cuda.current_stream(device).cuda_stream, *values)
    known = _tables.get(key)
    if known is None:
        _reserve(len(values))
        host = torch.tensor(values, dtype=torch.int64).pin_memory()
        known = _tables[key] = host.to(device, non_blocking=True)
        if len(_tables) > KEPT:
            _tables.popitem(last=False)
    _tables.move_to_end(key)
    return known


def _reserve(count: int) -> None:
    """Sets pinned memory aside, so that a capture finds enough for some tables of this length."""
    if not _pages or _pages[-1].numel() < 16 * count:
        size = max(PAGE, 64 * count)
        _pages.append(torch.empty(size, dtype=torch.int64, pin_memory=True))


def _capture(values: tuple[int, ...], device: torch.device) -> torch.Tensor:
    for key, known in _tables.items():
        if key[0] == device and key[2:] == values:
            _captured.append(known)
            return known
    page = _pages[-1] if _pages else torch.empty(0, dtype=torch.int64)
    if page.numel() < len(values):
        raise BackendError(
            "a CUDA graph is being captured before its ops have run once: call them on the same "
            "tensors first, as torch.cuda.graph asks for (warm-up)"
        )
    host, _pages[-1] = page[: len(values)], page[len(values) :]
    host.copy_(torch.tensor(values, dtype=torch.int64))
    made = host.to(device, non_blocking=True)
    _captured.extend((host, made))
    return made


def addresses(tensors: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """The address of each tensor's first element, as a table."""
    return table(native.addresses(tensors), device)
