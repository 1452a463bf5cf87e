"""Batches of tokens that are cut, padded and masked on the device.

Invariant: a training batch is a function of (seed, epoch, step) and the data alone. Shapes follow
from lengths that the host knows, so making a batch never waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from impcore.data.order import (
    WHOLE,
    Share,
    batch_starts,
    check_int,
    check_place,
    epoch_generator,
    keyed_generator,
    to_device,
)
from impcore.data.text.dataset import TextDataset, TextSplit
from impcore.data.text.masking import Masker
from impcore.errors import DataError

Inputs = dict[str, Tensor]
MULTIPLE = 8
"""A batch is padded to the longest of its rows, rounded up to a multiple: tensor cores like it."""


class TextBatches:
    """Batches ({"input_ids", "attention_mask", "token_type_ids"}: int64 [B, L]; targets).

    Targets are int64 [B], float32 [B], or int64 [B, 2] for spans. Of masked language modelling the
    inputs have a further key, "positions" int64 [K], the masked places in the flattened batch, and
    the targets int64 [K] are the tokens that were there; see `impcore.data.text.masking`.

    All rows are on the device as one array; a batch is a gather from it.

    Args:
        split: the rows; `dataset.train` as a rule.
        dataset: what task it is, and the vocabulary's numbers.
        batch_size: rows, at least 1.
        device: where the tokens are held and batches are made.
        seed: any integer.
        drop_last: leave out an incomplete last batch.
        share: what this process takes of each training batch, and of the batches of evaluation.

    Raises:
        DataError: the split is smaller than one batch with `drop_last`; or a row for masked
            language modelling holds special tokens alone.
        ValueError: an argument is not as above; the message names and quotes it.
    """

    def __init__(
        self,
        split: TextSplit,
        dataset: TextDataset,
        *,
        batch_size: int,
        device: torch.device | str = "cpu",
        seed: int = 0,
        drop_last: bool = False,
        share: Share = WHOLE,
    ) -> None:
        check_int("batch_size", batch_size, 1)
        check_int("seed", seed, None)
        if drop_last and len(split) < batch_size:
            raise DataError(f"batch_size: {batch_size} and drop_last leave none of {len(split)}")
        self.batch_size, self.seed = batch_size, seed
        self.device, self.truth = torch.device(device), split.truth
        self._pad = dataset.pad
        self._lengths = split.starts.diff().numpy()
        self._share = share
        self._batch_starts = batch_starts(len(split), batch_size, drop_last, share)
        self._tokens = split.tokens.to(self.device)
        self._starts = split.starts[:-1].to(self.device)
        self._ends = split.starts[1:].to(self.device)
        self._second = split.second.to(self.device, torch.int64)
        self._targets = split.targets.to(self.device)
        self._masker = Masker(dataset, split) if dataset.task == "mlm" else None
        self._latest: tuple[int, Tensor, np.ndarray | None] | None = None

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def steps_per_epoch(self) -> int:
        """The number of training batches in an epoch."""
        return len(self._batch_starts) - 1

    def weight(self, epoch: int, steps: range) -> float:
        """What the mean loss of batches of `epoch` is to be multiplied by; see `order.Share`."""
        _, targets = self._in_epoch(epoch)
        return self._share.weight(self._batch_starts, steps, targets)

    def epoch(
        self, epoch: int, start_step: int = 0, *, whole: bool = False
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """Return the training batches of `epoch` from `start_step` on, shuffled.

        They are this process's shares, or with `whole` the batches themselves.

        Raises:
            ValueError: either is no such integer.
        """
        check_place(epoch, start_step, self.steps_per_epoch)
        return self._train(epoch, start_step, WHOLE if whole else self._share)

    def eval_batches(self, batch_size: int | None = None) -> Iterator[tuple[Inputs, Tensor]]:
        """Return all rows once, in the order of the split; masks depend on nothing but the row.

        Raises:
            ValueError: no such integer.
        """
        size = self.batch_size if batch_size is None else batch_size
        check_int("batch_size", size, 1)
        return self._in_order(size)

    def _train(self, epoch: int, start_step: int, share: Share) -> Iterator[tuple[Inputs, Tensor]]:
        order, _ = self._in_epoch(epoch)
        steps = range(start_step, self.steps_per_epoch)
        parts = share.parts(self._batch_starts, steps)
        wholes = WHOLE.parts(self._batch_starts, steps)
        for step, part, whole in zip(steps, parts, wholes, strict=True):
            draw = None
            if self._masker is not None:
                mine = slice(part.start - whole.start, part.stop - whole.start)
                draw = self._draw(epoch, step, order[whole])[:, mine]
            yield self._batch(order[part], draw)

    def _draw(self, epoch: int, step: int, rows: Tensor) -> Tensor:
        """The random numbers that mask a whole batch, float32 [3, B, L]; shares take theirs."""
        generator = keyed_generator(f"impcore masks {self.seed} {epoch} {step}")
        return torch.rand((3, len(rows), self._length(rows.numpy())), generator=generator)

    def _in_epoch(self, epoch: int) -> tuple[Tensor, np.ndarray | None]:
        """The order of the rows, and how many targets each has in it; None means one.

        Those of the latest epoch are kept, for every step asks for its weight.
        """
        if self._latest is None or self._latest[0] != epoch:
            order = torch.randperm(len(self), generator=epoch_generator(self.seed, epoch))
            targets = None if self._masker is None else self._masker.wanted[order.numpy()]
            self._latest = epoch, order, targets
        return self._latest[1:]

    def _in_order(self, size: int) -> Iterator[tuple[Inputs, Tensor]]:
        for start in self._share.turns(len(self), size):
            yield self._batch(torch.arange(start, min(start + size, len(self))), None)

    def _batch(self, rows: Tensor, draw: Tensor | None) -> tuple[Inputs, Tensor]:
        length = self._length(rows.numpy())
        at = to_device(rows, self.device)
        begin, end = self._starts[at, None], self._ends[at, None]
        place = begin + torch.arange(length, device=self.device)
        real = place < end
        ids = self._tokens[torch.where(real, place, begin)].long()
        inputs = {
            "input_ids": torch.where(real, ids, self._pad),
            "attention_mask": real.long(),
            "token_type_ids": (real & (place - begin >= self._second[at, None])).long(),
        }
        if self._masker is None:
            return inputs, self._targets[at]
        return self._masker.mask(inputs, rows, draw)

    def _length(self, rows: np.ndarray) -> int:
        longest = int(self._lengths[rows].max())
        return -(-longest // MULTIPLE) * MULTIPLE
