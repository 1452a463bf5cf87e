"""What a run tells of itself: its progress, the losses of an epoch, rows, curves and times.

Invariant: the journal decides nothing but to stop a training whose loss became NaN, and all that it
writes is a function of the run's state, but for the seconds.
"""

from __future__ import annotations

import math
from time import monotonic
from typing import Any

from torch import Tensor

from impcore.errors import NonFiniteError
from impcore.imp import records
from impcore.imp.files import Files
from impcore.imp.progress import Progress, evaluation, row, too_far_below
from impcore.imp.run_directory import RunDirectory
from impcore.imp.run_state import RunState
from impcore.imp.scoring import Scores
from impcore.imp.tensorboard import Board
from impcore.imp.view import View


class Journal:
    """The records of one run in its directory, its lines on the screen, and its curves.

    Every process of the run has one, and the writer's writes. It keeps the progress and the loss of
    `state`.
    """

    def __init__(self, state: RunState, directory: RunDirectory, files: Files, view: View) -> None:
        self._state, self._lab = state, state.lab
        self._directory, self._files, self._view = directory, files, view
        self._board, self._since = Board(), monotonic()
        self._epoch_end = 0

    @property
    def progress(self) -> Progress:
        """Where the run is."""
        return self._state.progress

    def open(self) -> Board:
        """Show how much is left, and start the clock; returns what to close at the end."""
        self._since = monotonic()
        self._view.open(self._steps_left(), self._lab.steps.steps_per_epoch)
        watched = self._lab.config.run.tensorboard and self._lab.world.is_writer
        self._board = Board(self._directory.board if watched else None, self._steps_done())
        self._epoch_end = self.progress.step
        return self._board

    def begin(self, round_number: int) -> None:
        """Stand at the start of a round."""
        start, _ = self._lab.span(round_number)
        self.progress.round, self.progress.step, self.progress.seconds = round_number, start, 0.0
        self._since, self._epoch_end = monotonic(), start
        self._state.loss.zero_()

    def step(self, step: int, loss: Tensor) -> None:
        """Count a step and its loss; at the end of an epoch, stop a training that has diverged."""
        state = self._state
        state.progress.step = step
        self._view.step(step, loss)
        if step > self._epoch_end:
            self._begin_epoch(step)
        state.add_loss(loss)
        if step == self._epoch_end:
            self._end_epoch(step)

    def _begin_epoch(self, step: int) -> None:
        """Before the loss of `step`, the first one of an epoch or after a stop."""
        done = (step - 1) % self._lab.steps.steps_per_epoch
        if done == 0:
            self._state.loss.zero_()
        _, end = self._lab.span(self.progress.round)
        self._epoch_end = min(end, step - done - 1 + self._lab.steps.steps_per_epoch)

    def _end_epoch(self, step: int) -> None:
        lab = self._lab
        curves = {"train_loss": self._train_loss(), "lr": lab.rate_at(step - 1)}
        self._board.add(self._steps_done(), curves)
        if math.isnan(curves["train_loss"]):
            raise NonFiniteError(
                f"train: the loss of round {self.progress.round} became NaN before step {step}; "
                f"train.lr = {lab.config.train.lr} may be too high"
            )

    def evaluation(self, found: Scores) -> dict[str, Any]:
        """Add a line to evals.jsonl; returns it."""
        lines = self.progress.evaluations
        lines.append(evaluation(self._lab, self.progress, found, self._train_loss()))
        if self._lab.world.is_writer:
            self._files.write(self._directory.evaluations, records.pack_rows(lines))
        self._board.add(self._steps_done(), lines[-1])
        return lines[-1]

    def row(self, found: Scores) -> dict[str, Any]:
        """The row of the state that has just been trained; "stopped" in it says why it is the last.

        It stands in no file before `add`.
        """
        lab, progress = self._lab, self.progress
        start, end = lab.span(progress.round)
        self.count_seconds()
        mask_hash = lab.masks.hash_of(self._state.packed_masks)
        trained = row(lab, progress, found, self._train_loss(), end - start, mask_hash)
        drop = lab.config.prune.max_drop
        if drop is not None and progress.rows and progress.round < lab.config.prune.rounds:
            why = too_far_below(progress.rows[0], trained, drop)
            trained |= {} if why is None else {"stopped": why}
        return trained

    def add(self, trained: dict[str, Any]) -> None:
        """Add a row: the round is behind."""
        self.progress.rows.append(trained)
        self._write()
        self._view.row(trained, self._lab.config.prune.rounds)
        self._board.add(self._steps_done(), trained, prefix="round/")
        if "stopped" in trained:
            self._view.note(f"the run ends here: {trained['stopped']}")

    def count_seconds(self) -> None:
        """Add the time since the last call to the round's."""
        now = monotonic()
        self.progress.seconds += now - self._since
        self._since = now

    def _write(self) -> None:
        """Write rounds.jsonl and flow.npz for the rounds that are behind."""
        if not self._lab.world.is_writer:
            return
        rows, flow = self.progress.rows, self._lab.flow
        self._files.write(self._directory.rounds, records.pack_rows(rows))
        packed = records.pack_flow(
            flow.M[: len(rows)],
            flow.P[: len(rows)],
            flow.names,
            [row["remaining"] for row in rows],
            self._lab.config.analysis.theta,
        )
        self._files.write(self._directory.flow, packed)

    def _train_loss(self) -> float:
        """The mean loss of this epoch's steps so far; all processes ask for it together."""
        lab, step = self._lab, self.progress.step
        start, _ = lab.span(self.progress.round)
        counted = min((step - 1) % lab.steps.steps_per_epoch + 1, step - start)
        losses = [float(loss) for loss in lab.world.gather(self._state.loss)]
        return sum(losses) / len(losses) / counted

    def _steps_done(self) -> int:
        """Training steps behind, over all rounds."""
        spans = [self._lab.span(n) for n in range(self.progress.round + 1)]
        return sum(end - start for start, end in spans[:-1]) + self.progress.step - spans[-1][0]

    def _steps_left(self) -> int:
        if self.progress.done:
            return 0
        spans = [self._lab.span(n) for n in range(len(self._lab.counts))]
        return sum(end - start for start, end in spans) - self._steps_done()
