"""Runs a batch of cases through the public ops, on tensors of any device and by any backend."""

from __future__ import annotations

import numpy as np
import torch

from impcore import ops

from .cases import GUARD, Batch
from .sweep import Outcome, source_bits

TORCH = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TensorCases:
    """A batch's cases as views of a few tensors on a device, misaligned as the cases say."""

    def __init__(self, batch: Batch, device: str) -> None:
        self.batch, self.device = batch, torch.device(device)
        self.weights = self._buffer(batch.bits)
        self.source = self._buffer(source_bits(batch)) if batch.seed % 2 else None
        rng = np.random.default_rng(batch.seed)
        scratch = rng.integers(0, 2**32, batch.num_words, dtype=np.uint32)
        scratch[batch.guards] = GUARD
        self.mask = self._words(batch.arena(batch.alive))
        self.mask_out = self._words(scratch)
        self.k = torch.from_numpy(batch.k).to(self.device)

    def _buffer(self, bits: np.ndarray) -> torch.Tensor:
        raw = self.batch.buffer(bits)
        signed = torch.from_numpy(raw.view(raw.dtype.str.replace("u", "i")))
        return signed.to(self.device).view(TORCH[self.batch.dtype])

    def _words(self, words: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(words.view(np.int32)).to(self.device)

    def views(self, buffer: torch.Tensor, case: int) -> list[torch.Tensor]:
        """The case's tensors in a buffer of weights or sources."""
        first = sum(map(len, self.batch.sizes[:case]))
        starts = self.batch.start[first : first + len(self.batch.sizes[case])]
        at = (32 * starts + self.batch.shift).tolist()
        return [buffer[a : a + n] for a, n in zip(at, self.batch.sizes[case], strict=True)]

    def words(self, arena: torch.Tensor, case: int) -> torch.Tensor:
        """The case's part of an arena, without its guard."""
        return arena[self.batch.first_word[case] : self.batch.first_word[case + 1] - 1]

    def plan(self, case: int) -> ops.Plan:
        """The case's plan; the last block may be empty."""
        return ops.Plan.make(self.batch.sizes[case], self.batch.blocks[case])


def play(batch: Batch, device: str) -> Outcome:
    """Selects in and commits every case on `device`; what the sweep of the native kernels gives."""
    tensors = TensorCases(batch, device)
    before, after, l1s, statuses = [], [], [], []
    for case in range(batch.cases):
        plan = tensors.plan(case)
        weights = tensors.views(tensors.weights, case)
        mask, mask_out = tensors.words(tensors.mask, case), tensors.words(tensors.mask_out, case)
        scratch = ops.workspace(plan, device)
        scratch.fill_((37 * case + 11) % 256)
        found = ops.topk_mask(
            plan, weights, mask, mask_out, tensors.k[case], scratch, bracket=batch.brackets[case]
        )
        l1 = ops.block_l1(plan, weights, mask)
        source = None if tensors.source is None else tensors.views(tensors.source, case)
        ops.commit(plan, weights, mask, mask_out, found.status, source)
        statuses.append(found.status)
        width = int(batch.num_blocks[case])
        before.append(_padded(found.sums_before, width))
        after.append(_padded(found.sums_after, width))
        l1s.append(_padded(l1, width))
    weights = tensors.weights.view(torch.int32 if batch.dtype == "float32" else torch.int16)
    return Outcome(
        mask_out=tensors.mask_out.cpu().numpy().view(np.uint32),
        mask=tensors.mask.cpu().numpy().view(np.uint32),
        weights=weights.cpu().numpy().view(batch.format.bits),
        status=torch.cat(statuses).cpu().numpy(),
        before=torch.cat(before, dim=1).cpu().numpy(),
        after=torch.cat(after, dim=1).cpu().numpy(),
        l1=torch.cat(l1s, dim=1).cpu().numpy(),
    )


def _padded(sums: torch.Tensor, width: int) -> torch.Tensor:
    """The sums with zeros for the last blocks, if no tensor adds to them."""
    return torch.nn.functional.pad(sums, (0, width - sums.shape[1]))
