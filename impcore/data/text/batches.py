"""Batches of tokens that are cut, padded and masked on the device.

Invariant: a training batch is a function of (seed, epoch, step) and the data alone. Shapes follow
from lengths that the host knows, so making a batch never waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from impcore.data.order import keyed_generator
from impcore.data.share import WHOLE, Share
from impcore.data.shuffled import ShuffledBatches
from impcore.data.text.dataset import TextDataset, TextSplit
from impcore.data.text.masking import Masker
from impcore.data.transfer import to_device

Inputs = dict[str, Tensor]
MULTIPLE = 8
"""A batch is padded to the longest of its rows, rounded up to a multiple: tensor cores like it."""


class TextBatches(ShuffledBatches[Inputs]):
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
        DataError: the split is smaller than one batch with `drop_last`, or than the number of
            shares; or a row for masked language modelling holds special tokens alone.
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
        super().__init__(
            len(split),
            batch_size=batch_size,
            device=device,
            seed=seed,
            drop_last=drop_last,
            share=share,
        )
        self.truth = split.truth
        self._pad = dataset.pad
        self._lengths = split.starts.diff().numpy()
        self._tokens = split.tokens.to(self.device)
        self._begins = split.starts[:-1].to(self.device)
        self._ends = split.starts[1:].to(self.device)
        self._second = split.second.to(self.device, torch.int64)
        self._targets = split.targets.to(self.device)
        self._masker = Masker(dataset, split) if dataset.task == "mlm" else None
        self._latest: tuple[int, Tensor, np.ndarray | None] | None = None

    def weight(self, epoch: int, steps: range) -> float:
        """What the mean loss of batches of `epoch` is to be multiplied by; see `share.Share`."""
        _, targets = self._in_epoch(epoch)
        return self._share.weight(self._starts, steps, targets)

    def _train(self, epoch: int, start_step: int, share: Share) -> Iterator[tuple[Inputs, Tensor]]:
        order, _ = self._in_epoch(epoch)
        steps = range(start_step, self.steps_per_epoch)
        parts = share.parts(self._starts, steps)
        wholes = WHOLE.parts(self._starts, steps)
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
            order, _ = self._shuffled(epoch)
            targets = None if self._masker is None else self._masker.wanted[order.numpy()]
            self._latest = epoch, order, targets
        return self._latest[1:]

    def _in_order(self, parts: list[slice]) -> Iterator[tuple[Inputs, Tensor]]:
        for part in parts:
            yield self._batch(torch.arange(part.start, part.stop), None)

    def _batch(self, rows: Tensor, draw: Tensor | None) -> tuple[Inputs, Tensor]:
        length = self._length(rows.numpy())
        at = to_device(rows, self.device)
        begin, end = self._begins[at, None], self._ends[at, None]
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
