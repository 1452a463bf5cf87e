"""What a step is applied to, from the optimiser to the kernel."""

import torch

from impcore import _C
from impcore.ops.stepped import Stepped


def stepped(**changes):
    tensors = [torch.zeros(3) for _ in range(5)]
    params, grads, a, b, counts = ([t] for t in tensors)
    fields = {"params": params, "grads": grads, "states": [a, b], "counts": counts}
    return Stepped(**(fields | {"mask": None, "starts": [-1]} | changes))


def test_a_step_writes_all_but_gradients_and_mask():
    on = stepped(mask=torch.zeros(1, dtype=torch.int32))
    wanted = [*on.params, *on.states[0], *on.states[1], *on.counts]
    assert list(map(id, on.written())) == list(map(id, wanted))
    assert len(list(stepped(states=[], counts=[]).written())) == 1


def test_what_has_been_read_is_not_read_again():
    read = _C.StepArgs(0, [], [], [], [], [], [7, -1], 0)
    found = stepped(starts=None, read=read)
    assert found.args() is read
    assert found.words == [7, -1]
    assert isinstance(stepped().args(), _C.StepArgs)
