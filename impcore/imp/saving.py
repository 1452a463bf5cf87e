"""When a run saves its state within a training, and how.

Invariant: what is saved is a copy of one state, and only one copy is in memory at a time.
"""

from __future__ import annotations

from threading import Event
from time import monotonic

from impcore.imp import tree
from impcore.imp.checkpoint import Checkpoints
from impcore.imp.files import Files
from impcore.imp.lab import Lab
from impcore.imp.pace import Pace
from impcore.imp.run_state import RunState


def saving_pace() -> Pace:
    """Of checkpoints within a training, unless the recipe says how often to save.

    They take half a percent of the time at most, and no training is worth saving every second.
    """
    return Pace(share=0.005, least=10.0)


class Saver:
    """Saves the state of one run, in the process that has `checkpoints`."""

    def __init__(self, lab: Lab, checkpoints: Checkpoints | None, files: Files) -> None:
        self._lab, self._checkpoints, self._files = lab, checkpoints, files
        self._pace = saving_pace()
        self._saved: Event | None = None

    def due(self, step: int, end: int) -> bool:
        """Whether to save after a step of a training that ends at `end`; all processes ask."""
        lab = self._lab
        if step != end and step % lab.steps.checkpoint_every != 0:
            return False
        chosen = lab.config.train.checkpoint_every is not None
        return chosen or bool(lab.world.from_writer(self._pace.due))

    def save(self, state: RunState) -> None:
        """Copy the state as it is now, and have it written; all processes save together."""
        saving = state.as_tree()
        if self._checkpoints is None:
            return
        if self._saved is not None:
            self._saved.wait()
        self._files.check()
        self._pace.hold()
        begun = monotonic()
        content, tensors = tree.split(saving, "state")
        write = self._checkpoints.pack({"identity": self._lab.identity, "state": content}, tensors)
        packing = monotonic() - begun

        def save() -> None:
            begun = monotonic()
            write()
            self._pace.took(packing + monotonic() - begun)

        self._saved = self._files.do(save)
