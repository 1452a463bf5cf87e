"""What a step writes, and what has been read of its tensors."""

import torch

from impcore import _C
from impcore.ops.step_tensors import StepTensors


def step_tensors(**changes):
    tensors = [torch.zeros(3) for _ in range(5)]
    params, grads, a, b, counts = ([t] for t in tensors)
    fields = {"params": params, "grads": grads, "states": [a, b], "counts": counts}
    return StepTensors(**(fields | {"mask": None, "starts": [-1]} | changes))


def test_a_step_writes_all_but_gradients_and_mask():
    on = step_tensors(mask=torch.zeros(1, dtype=torch.int32))
    wanted = [*on.params, *on.states[0], *on.states[1], *on.counts]
    assert list(map(id, on.written())) == list(map(id, wanted))
    assert len(list(step_tensors(states=[], counts=[]).written())) == 1


def test_what_has_been_read_is_not_read_again():
    read = _C.StepArgs(0, [], [], [], [], [], [7, -1], 0)
    found = step_tensors(starts=None, read=read)
    assert found.args() is read
    assert found.words == [7, -1]
    assert isinstance(step_tensors().args(), _C.StepArgs)
