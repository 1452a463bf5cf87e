"""More than 2^31 and 2^32 weights: offsets need 64 bits. About 20 GB of device memory."""

import pytest
import torch

from impcore import ops

pytestmark = pytest.mark.gpu
SIZES = [2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1000]
CHUNK = 2**27


@pytest.fixture(autouse=True)
def room():
    if torch.cuda.mem_get_info()[0] < 24 * 2**30:
        pytest.skip("needs 24 GB of free device memory")
    yield
    torch.cuda.empty_cache()


@pytest.mark.parametrize("size", SIZES)
def test_the_smallest_go_and_of_ties_the_first(size, gpu_backend):
    """Magnitudes rise in steps of 8 with the offset, but for the last weight, the smallest."""
    weights = torch.empty(size, dtype=torch.bfloat16, device="cuda")
    keys = weights.view(torch.int16)
    for start in range(0, size, CHUNK):
        stop = min(start + CHUNK, size)
        place = torch.arange(start, stop, device="cuda")
        keys[start:stop] = (place * 30000 // size + 100).to(torch.int16)
    keys[-1] = 1
    plan = ops.Plan.make([size])
    arena = torch.full((plan.total_words,), -1, dtype=torch.int32, device="cuda")
    if size % 32:
        arena[-1] = (1 << size % 32) - 1
    scratch, k = torch.empty_like(arena), size // 2 + 12345
    found = ops.topk_mask(plan, [weights], arena, scratch, k, ops.workspace(plan, "cuda"))
    assert int(found.status) == 0
    ops.commit(plan, [weights], arena, scratch, found.status)
    assert int(ops.bits.count(arena)) == size - k
    assert found.sums_after[1].item() == size - k
    # Keys rise with the offset, and ties go in its order: the first k - 1, and the last.
    for start in range(0, size - 1, CHUNK):
        stop = min(start + CHUNK, size - 1)
        alive = keys[start:stop] != 0
        expected = torch.arange(start, stop, device="cuda") >= k - 1
        assert torch.equal(alive, expected), start
    assert int(keys[-1]) == 0
