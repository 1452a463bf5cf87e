"""Masked language modelling: which tokens are hidden, by what (Devlin et al. 2019, section 3.1).

Invariant: in training the masks are a function of (seed, epoch, step); in evaluation of the row's
place in the split alone, so a score does not depend on the size of a batch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from impcore.data.order import keyed_generator
from impcore.data.text.dataset import TextDataset, TextSplit
from impcore.data.transfer import to_device
from impcore.errors import DataError

RATE = 0.15
"""The fraction of a row's tokens that are predicted, at least one, as create_pretraining_data.py
rounds it."""
_HIDDEN, _OTHER = 0.8, 0.9
"""Of these, 80 % become the masking token, 10 % a random one, and 10 % stay."""


class Masker:
    """Masks batches of one split. Choices are drawn on the CPU: every device sees the same.

    Raises:
        DataError: a row holds special tokens alone. A batch of such rows, or one process's share of
            a batch, would have no target, and the mean loss over none is not a number.
    """

    def __init__(self, dataset: TextDataset, split: TextSplit) -> None:
        self._mask, self._vocab_size = dataset.mask, dataset.vocab_size
        self._starts = split.starts.numpy()
        self._maskable = ~np.isin(split.tokens.numpy(), dataset.special)
        free = np.add.reduceat(self._maskable, self._starts[:-1], dtype=np.int64)
        if not free.all():
            row = int(np.argmin(free))
            length = int(self._starts[row + 1] - self._starts[row])
            raise DataError(
                f"{dataset.name}: row {row} is {length} special tokens; should hold others, of "
                "which some can be predicted"
            )
        self.wanted: np.ndarray = np.maximum(1, np.round(free * RATE)).astype(np.int64)
        """int64 [rows], how many tokens of each are predicted, whatever is drawn."""

    def mask(
        self, inputs: dict[str, Tensor], rows: Tensor, draw: Tensor | None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Hide tokens of a batch of `rows`, padded to L; the targets are what was there.

        `draw` holds numbers of U(0, 1), float32 [3, B, at least L] on the CPU; None: of evaluation.
        """
        length = inputs["input_ids"].shape[1]
        draw = self._of_rows(rows, length) if draw is None else draw[..., :length]
        places = self._choose(rows.numpy(), draw[0].numpy())
        chosen = torch.from_numpy(places)
        how, which = draw[1].flatten()[chosen], draw[2].flatten()[chosen]
        ids = inputs["input_ids"]
        device = ids.device
        flat = ids.flatten()
        at = to_device(chosen, device)
        targets = flat[at]
        other = to_device((which * self._vocab_size).long(), device)
        how = to_device(how, device)
        put = torch.where(how < _HIDDEN, self._mask, torch.where(how < _OTHER, other, targets))
        flat[at] = put
        return {**inputs, "input_ids": flat.view_as(ids), "positions": at}, targets

    def _choose(self, rows: np.ndarray, draw: np.ndarray) -> np.ndarray:
        """The flat places of the RATE of each row's tokens with the lowest draw, in order."""
        count, length = draw.shape
        allowed = np.zeros((count, length), dtype=bool)
        for i, row in enumerate(rows):
            real = self._maskable[self._starts[row] : self._starts[row + 1]]
            allowed[i, : len(real)] = real
        rank = np.where(allowed, draw, 2.0).argsort(axis=1, kind="stable").argsort(axis=1)
        return np.flatnonzero((rank < self.wanted[rows, None]) & allowed)

    def _of_rows(self, rows: Tensor, length: int) -> Tensor:
        """Draws of each row alone, as many as it has tokens; what pads them is never chosen."""
        draws = torch.zeros(3, len(rows), length)
        for i, row in enumerate(rows.tolist()):
            own = int(self._starts[row + 1] - self._starts[row])
            generator = keyed_generator(f"impcore evaluation masks {row}")
            draws[:, i, :own] = torch.rand((3, own), generator=generator)
        return draws
