"""An object that leaves a trace when it is unpickled, and its control."""

from __future__ import annotations

import os
import pickle


class Bomb:
    def __init__(self, target):
        self.target = str(target)

    def __reduce__(self):
        return (os.mkdir, (self.target,))


def armed(tmp_path):
    """A bomb and its trace; asserts that such a bomb goes off where pickles are loaded."""
    control = tmp_path / "control"
    pickle.loads(pickle.dumps(Bomb(control)))
    assert control.is_dir()
    return Bomb(tmp_path / "trace"), tmp_path / "trace"
