from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import Tensor

from impcore.data.share import WHOLE, Share
from impcore.data.shuffled import ShuffledBatches


class Numbers(ShuffledBatches[Tensor]):
    """Batches of 3 of the numbers 0 to 11."""

    def __init__(self) -> None:
        super().__init__(12, batch_size=3, device="cpu", seed=0, drop_last=False, share=WHOLE)

    def _train(self, epoch: int, start_step: int, share: Share) -> Iterator[tuple[Tensor, Tensor]]:
        order, _ = self._shuffled(epoch)
        for part in share.parts(self._starts, range(start_step, self.steps_per_epoch)):
            yield order[part], order[part]

    def _in_order(self, parts: list[slice]) -> Iterator[tuple[Tensor, Tensor]]:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("epoch", "step", "message"),
    [(-1, 0, "epoch: -1"), (0, True, "start_step: True"), (0, 5, "beyond the 4 steps")],
)
def test_no_place_in_an_epoch(epoch: int, step: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Numbers().epoch(epoch, step)


def test_every_place_in_an_epoch() -> None:
    whole = [x.tolist() for x, _ in Numbers().epoch(2)]
    for step in range(5):
        assert [x.tolist() for x, _ in Numbers().epoch(2, step)] == whole[step:]
