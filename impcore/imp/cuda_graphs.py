"""Whole training steps as one CUDA graph: one launch in place of hundreds.

Invariant: recorded or not, a step makes the same bits: what is replayed is the very step, reading
its batches and its learning rate from places that are filled before each replay.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor

from impcore.errors import ConfigError
from impcore.imp.tasks import Inputs

Batch = tuple[Inputs, Tensor]
"""Inputs and targets, on the device."""
Update = Callable[[Sequence[Batch], "float | Tensor"], Tensor]
"""A step without reads: batches and learning rate (a number, or float64 on the device) to loss."""
Record = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]
"""A function of fixed tensors to what replays it: nothing is computed until then."""

WARMUP = 3
"""Steps taken as usual first: they make the optimiser's state, and the libraries' workspaces."""


class StepGraph:
    """Records a step once its batches have had the same shapes twice, and replays it for those.

    Batches of other shapes (the last one of an epoch) are stepped as usual, on the stream that is
    recorded on. So are all where a step cannot be recorded, after a warning; and all batches of
    keywords (text), whose lengths vary.

    Args:
        device: what the batches and the model are on.
        required: record batches of keywords too, and raise ConfigError instead of that warning.
        record: how to record, where not as a CUDA graph.
    """

    def __init__(
        self, device: torch.device, *, required: bool = False, record: Record | None = None
    ) -> None:
        cuda = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if cuda else None  # type: ignore[no-untyped-call]
        self._required = required
        self._record: Record | None = record or partial(_recorded, self._stream)
        self._rate = torch.zeros((), dtype=torch.float64, device=device)
        self._steps = 0
        self._seen: tuple[object, ...] | None = None
        self._held: list[Batch] = []
        self._replay: Callable[[], Tensor] | None = None

    def step(self, update: Update, batches: Sequence[Batch], rate: float) -> Tensor:
        """`update(batches, rate)`, replayed where that is recorded; `update` must stay the same."""
        shapes = _shapes(batches)
        fixed = self._required or all(isinstance(inputs, Tensor) for inputs, _ in batches)
        ready = fixed and self._steps >= WARMUP and shapes == self._seen
        if self._record is not None and ready:
            self._held = [_copy(batch) for batch in batches]
            self._try(self._record, partial(update, self._held, self._rate))
        if self._replay is not None and shapes == self._seen:
            for held, given in zip(_tensors(self._held), _tensors(batches), strict=True):
                held.copy_(given)
            self._rate.fill_(rate)
            return self._replay().clone()
        if self._replay is None:
            self._seen = shapes
        self._steps += 1
        with self._aside():
            return update(batches, rate)

    def _try(self, record: Record, function: Callable[[], Tensor]) -> None:
        """Record, once. Raises ConfigError if that is required and fails."""
        self._record = None
        try:
            self._replay = record(function)
        except RuntimeError as error:
            cause = str(error).strip().partition("\n")[0]
            failed = f"a training step cannot be recorded as a CUDA graph: {cause}"
            if self._required:
                raise ConfigError(
                    f'train.cuda_graph = "on": {failed}; should be "off" here'
                ) from error
            warnings.warn(f"{failed}; steps are launched piece by piece", stacklevel=2)

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Within the block, work is queued on the stream that is recorded on."""
        if self._stream is None:
            yield
            return
        here = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            yield
        here.wait_stream(self._stream)


def _recorded(
    stream: torch.cuda.Stream | None, function: Callable[[], Tensor]
) -> Callable[[], Tensor]:
    graph = torch.cuda.CUDAGraph()
    # The outer context makes the stream before current again where a capture fails to begin or to
    # end: the inner one then leaves its own. Other threads may go on pinning memory for the batches
    # to come.
    with (
        torch.cuda.stream(stream),
        torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
    ):
        loss = function()

    def replay() -> Tensor:
        graph.replay()
        return loss

    return replay


def _tensors(batches: Sequence[Batch]) -> Iterator[Tensor]:
    for inputs, targets in batches:
        yield from inputs.values() if isinstance(inputs, dict) else (inputs,)
        yield targets


def _copy(batch: Batch) -> Batch:
    inputs, targets = batch
    if isinstance(inputs, dict):
        return {name: tensor.clone() for name, tensor in inputs.items()}, targets.clone()
    return inputs.clone(), targets.clone()


def _shapes(batches: Sequence[Batch]) -> tuple[object, ...]:
    """What must be equal for batches to be copied into each other's place, tensor by tensor."""
    names = tuple(tuple(i) if isinstance(i, dict) else None for i, _ in batches)
    return names, *((t.shape, t.dtype, t.stride()) for t in _tensors(batches))


def of(choice: str, device: torch.device, *, alone: bool) -> StepGraph | None:
    """What `train.cuda_graph` wants for a learner on the device; None: no graph.

    Raises ConfigError if it must be and cannot: only one process alone (`alone`), on CUDA, has one.
    """
    if device.type == "cuda" and alone:
        return None if choice == "off" else StepGraph(device, required=choice == "on")
    if choice == "on":
        here = str(device) if alone else "several processes"
        raise ConfigError(
            f'train.cuda_graph = "on": needs a CUDA device and one process, and this run is on '
            f'{here}; should be "auto" or "off"'
        )
    return None
