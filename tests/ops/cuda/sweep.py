"""The native calls of a batch of cases for the CUDA kernels: addresses, wherever they are."""

from __future__ import annotations

import numpy as np

from ..cases import Batch
from ..sweep import WORKSPACE_GUARD


class Calls:
    """As sweep.Calls, through a CUDA binding whose device is this machine's memory."""

    def __init__(self, module, batch: Batch, weights: np.ndarray, source: np.ndarray | None):
        self.module, self.batch = module, batch
        self.totals = [int(table[:, 2].sum()) for table in batch.tables]
        self.needed = [
            module.topk_mask_workspace(len(table), total)
            for table, total in zip(batch.tables, self.totals, strict=True)
        ]
        self.workspace = np.empty(max(self.needed, default=0) + WORKSPACE_GUARD, dtype=np.uint8)
        self.pointers = [np.array(a, dtype=np.int64) for a in batch.addresses(weights)]
        self.sources = None
        if source is not None:
            self.sources = [np.array(a, dtype=np.int64) for a in batch.addresses(source)]
        self.first_sum = (2 * (np.cumsum(batch.num_blocks) - batch.num_blocks)).tolist()
        self.first_word = batch.first_word.tolist()
        self.k = batch.k.copy()

    def weights(self, case):
        table = self.batch.tables[case]
        return self.module.Weights(
            self.batch.format.code, table.ctypes.data, len(table), self.pointers[case].ctypes.data
        )

    def select(self, case, mask_in, mask_out, status, before, after, l1):
        poison = (37 * case + 11) % 256
        self.workspace.fill(poison)
        blocks = self.batch.tables[case][:, 4]
        order = np.argsort(blocks, kind="stable").astype(np.int64)
        count = int(self.batch.num_blocks[case])
        first = np.searchsorted(blocks[order], np.arange(count + 1)).astype(np.int64)
        by_block = self.module.BlockOrder(order.ctypes.data, first.ctypes.data, count)
        word, column = 4 * self.first_word[case], 8 * self.first_sum[case]
        self.module.topk_mask(
            self.weights(case),
            self.totals[case],
            by_block,
            mask_in.ctypes.data + word,
            mask_out.ctypes.data + word,
            self.k.ctypes.data + 8 * case,
            self.workspace.ctypes.data,
            status.ctypes.data + 8 * case,
            before.ctypes.data + column,
            after.ctypes.data + column,
            self.batch.brackets[case],
            0,
        )
        end = self.needed[case]
        beyond = self.workspace[end : end + WORKSPACE_GUARD]
        assert (beyond == poison).all(), f"wrote past the workspace: {self.batch.describe(case)}"
        self.module.block_l1(
            self.weights(case),
            by_block,
            mask_in.ctypes.data + word,
            self.workspace.ctypes.data,
            l1.ctypes.data + column,
            0,
        )

    def commit(self, case, mask, mask_out, status):
        word = 4 * self.first_word[case]
        self.module.commit(
            self.weights(case),
            0 if self.sources is None else self.sources[case].ctypes.data,
            mask.ctypes.data + word,
            mask_out.ctypes.data + word,
            status.ctypes.data + 8 * case,
            0,
        )
