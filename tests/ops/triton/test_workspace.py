"""How much memory a selection by Triton's kernels needs, and how tables get to the device."""

import pytest
import torch

from impcore import ops
from impcore.errors import BackendError

pytest.importorskip("triton")

from impcore.ops.triton import tables
from impcore.ops.triton.topk_mask import Scratch, workspace_bytes

CONVOLUTIONS = [9408, *[16384, 36864, 65536] * 3, *[131072, 147456, 262144] * 4,
            *[524288, 589824, 1048576] * 6, *[2097152, 2359296, 1048576] * 3, 2048000]  # fmt: skip
BERT_BASE = [23440896, *[589824] * 48, *[2359296] * 24, *[768] * 100]


@pytest.mark.parametrize(
    "numels",
    [CONVOLUTIONS, BERT_BASE, [2**24] * 64, [2**26] * 110, [2**32 + 77]],
    ids=["convolutions", "bert", "1G", "7G", "one of 4G"],
)
def test_the_workspace_is_at_most_4_percent_of_float32_weights(numels):
    plan = ops.Plan.make(numels)
    assert workspace_bytes(plan.chunks) <= 0.04 * 4 * plan.total


@pytest.mark.parametrize("numels", [[], [1], [131073], [70_000, 0, 300_000]], ids=str)
def test_pieces_of_the_workspace_are_apart_and_fill_it(numels):
    plan = ops.Plan.make(numels)
    count = len(plan.chunks)
    workspace = torch.zeros(workspace_bytes(plan.chunks), dtype=torch.uint8)
    scratch = Scratch.cut(workspace, count, plan.total)
    pieces = [x for name, x in vars(scratch).items() if name != "samples"]
    for piece in pieces:
        piece.view(torch.uint8).add_(1)
    assert int(workspace.max()) == 1
    scratch.samples.view(torch.uint8).fill_(2)
    for piece in pieces[:-2]:
        assert bool((piece.view(torch.uint8) == 1).all())


def test_a_capture_takes_known_tables_and_memory_set_aside(monkeypatch):
    cpu = torch.device("cpu")
    known, page = torch.tensor([7, 8]), torch.zeros(5, dtype=torch.int64)
    monkeypatch.setattr(tables, "_tables", {(cpu, 0, 7, 8): known})
    monkeypatch.setattr(tables, "_captured", [])
    monkeypatch.setattr(tables, "_pages", [page])
    assert tables._capture((7, 8), cpu) is known
    first, second = tables._capture((1, 2, 3), cpu), tables._capture((4, 5), cpu)
    assert (first.tolist(), second.tolist()) == ([1, 2, 3], [4, 5])
    assert page.tolist() == [1, 2, 3, 4, 5]
    assert any(kept is known for kept in tables._captured)
    with pytest.raises(BackendError, match="run once"):
        tables._capture((6,), cpu)
