"""Iterative magnitude pruning: train, measure, prune, rewind; R prunes, R + 1 trained states.

Invariant: the run is a function of its state (`run_state`): saved at a step boundary and taken up
again, it goes through the same bits as if it had never stopped. What is between the end of one
training and the start of the next (score, ticket, prune, rewind, records) is done again from the
checkpoint at its beginning if it is cut short, and writes the same bytes.

M(n) is measured on the trained weights of round n under mask n, before the next prune, by the
prune's own pass (the last state's by a pass of its own). With `analysis.theta = "rewound"` it is
measured on the weights that round n starts from, under mask n: for n = 0 on the first rewind
point, under the full mask; later on the point just rewound to. P(n) is the same either way.

Every round sees the same order of samples, and starts with the same random state: both are keyed
by `run.seed`, as in open_lth, not by the round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from impcore.imp import (
    determinism,
    environment,
    invariants,
    records,
    rewinding,
    training,
)
from impcore.imp.checkpoint import Checkpoints
from impcore.imp.files import Files
from impcore.imp.journal import Journal
from impcore.imp.lab import Lab
from impcore.imp.pace import next_due
from impcore.imp.progress import Progress, origin, ticket
from impcore.imp.run_directory import RunDirectory
from impcore.imp.run_state import RunState
from impcore.imp.saving import Saver
from impcore.imp.scoring import Scores, scores
from impcore.imp.signals import Stop, Stopped
from impcore.imp.view import View


class Rounds:
    """One run of the experiment `imp`, from its newest checkpoint to its end.

    Every process of the run has one; the one with `checkpoints` writes.

    Attributes:
        state: all that it goes on from; the beginning of the run, unless a checkpoint is loaded.
    """

    def __init__(
        self,
        lab: Lab,
        directory: RunDirectory,
        checkpoints: Checkpoints | None,
        stop: Stop,
        view: View,
    ) -> None:
        self._lab, self._directory = lab, directory
        self._stop, self._view = stop, view
        self.state = RunState(lab)
        self._files = Files()
        self._saver = Saver(lab, checkpoints, self._files)
        self._journal = Journal(self.state, directory, self._files, view)
        self._weights = lab.config.rewind.kind == "weights"
        self._trained = lab.config.analysis.theta == "trained"
        self._origin = origin(lab)

    @property
    def progress(self) -> Progress:
        """Where the run is."""
        return self.state.progress

    def run(self, meanwhile: Callable[[], None] | None = None) -> None:
        """Go on to the end; `meanwhile` is called there, while the last files are being written.

        Raises Stopped, after saving, if a stop is requested on the way. An error of `meanwhile` is
        raised when those files are written, unless one of them could not be.
        """
        failure: Exception | None = None
        try:
            with self._files, self._journal.open():
                if not self.state.loaded:
                    self._begin(0)
                while not self.progress.done:
                    self._train()
                    self._finish()
                if meanwhile is not None:
                    try:
                        meanwhile()
                    except Exception as error:
                        failure = error
        except Stopped:
            # What has been saved is on disk now. As soon as one process has ended, torchrun ends
            # the others, and a second signal would cut the writer short.
            self._lab.world.barrier()
            raise
        if failure is not None:
            raise failure

    def describe(self) -> str:
        """The run in a line."""
        lab, config = self._lab, self._lab.config
        return (
            f"{config.model.arch} on {config.data.name}, {lab.aim()}, {lab.steps.total} steps a "
            f"training, on {lab.device}"
        )

    def _begin(self, round_number: int) -> None:
        """Stand at the start of a round's training, and save that."""
        self._journal.begin(round_number)
        determinism.seed_all(self._lab.world.seed(self._lab.config.run.seed))
        self._take_first_point()
        self._save()

    def _train(self) -> None:
        lab, progress = self._lab, self.progress
        start, end = lab.span(progress.round)
        self._view.begin(
            progress.round, lab.config.prune.rounds, lab.masks.density, start=start, end=end
        )
        self._evaluate_if_due()  # a stopped run may have left it to this one
        due = self._next_due(end)
        for step, loss in training.steps(
            self.state.learner,
            lab.train,
            lab.rate_at,
            start=progress.step,
            end=end,
            accumulate=lab.config.train.accumulate,
        ):
            self._journal.step(step, loss)
            self._files.check()
            # Read once: a signal after this line is for the next step, whose state is then saved.
            stopping = self._stop.pending()
            if step < due and not stopping:
                continue
            self._take_first_point()
            if stopping or self._saver.due(step, end):
                self._save()
            if stopping:
                self._stop.check()
            self._evaluate_if_due()
            due = self._next_due(end)
        lab.world.send_buffers(lab.model)
        lab.world.all_agree("weights", lambda: environment.model_fingerprint(lab.model))

    def _next_due(self, end: int) -> int:
        """The next step after which anything may have to be done.

        Of what each step asks and does little is left in the cache by the training: one question is
        cheaper than many.
        """
        steps = self._lab.steps
        every = steps.checkpoint_every, steps.eval_every
        first_point = rewinding.capture_step(self._lab.config.rewind, steps)
        return next_due(self.progress.step, every, (first_point, end))

    def _finish(self) -> None:
        """Everything between the end of a training and the start of the next one."""
        lab, progress = self._lab, self.progress
        found = self._scores()
        if lab.steps.eval_every:
            self._journal.evaluation(found)
        trained = self._journal.row(found)
        if lab.world.is_writer:
            self._keep(trained)
        last = progress.round == lab.config.prune.rounds or "stopped" in trained
        if not last:
            self._prune()
        elif self._trained:
            lab.flow.record()
        self._journal.add(trained)
        if last:
            progress.done = True
            self._save()
        else:
            self._begin(progress.round + 1)

    def _keep(self, trained: dict[str, Any]) -> None:
        """Write what later rounds do not: the round's ticket, and its average."""
        number = self.progress.round
        made = ticket(trained, self._origin, self.state.packed_masks, self.state.point)
        self._files.write(self._directory.ticket(number), made.pack())
        if self.state.learner.average is not None:
            packed = records.pack_tensors(self.state.learner.average.state)
            self._files.write(self._directory.average(number), packed)

    def _prune(self) -> None:
        """Prune to the next count, rewind, and check both."""
        lab = self._lab
        target = lab.counts[self.progress.round + 1]
        before = lab.masks.words.clone()
        if not self._weights:
            self.state.point = rewinding.capture(lab.model)
        elif lab.config.rewind.head == "keep":
            self.state.point = rewinding.with_head_of(lab.model, self.state.point)
        self.state.prune(lab.flow if self._trained else None)
        if self._weights:
            rewinding.rewind_model(lab.model, lab.masks, self.state.point)
        self.state.learner = lab.learner()
        invariants.check_prune(
            lab.model, lab.masks, before=before, remaining=target, point=self.state.point
        )
        invariants.check_fresh(self.state.learner.optimizer, lab.model)
        lab.world.all_agree("masks", lambda: lab.masks.hash_of(self.state.packed_masks))
        if not self._trained:
            lab.flow.record()

    def _take_first_point(self) -> None:
        """Take the first rewind point when its step has been reached."""
        lab, progress = self._lab, self.progress
        if self.state.point or progress.round > 0:
            return
        if progress.step != rewinding.capture_step(lab.config.rewind, lab.steps):
            return
        self.state.point = rewinding.capture(lab.model)
        if not self._trained:
            lab.flow.record()

    def _evaluate_if_due(self) -> None:
        """Evaluate within a round where `train.eval_every` says so; `_finish` does at its end."""
        lab, progress = self._lab, self.progress
        every = lab.steps.eval_every
        if not every:
            return
        here = {"round": progress.round, "step": progress.step}
        start, end = lab.span(progress.round)
        if not (start < progress.step < end and progress.step % every == 0):
            return
        if progress.evaluations and here.items() <= progress.evaluations[-1].items():
            return
        self._view.evaluation(self._journal.evaluation(self._scores()))

    def _scores(self) -> Scores:
        """Score the state that has been reached.

        Raises Stopped, after saving, if a stop is requested meanwhile.
        """
        try:
            return scores(self._lab, self.state.learner, self._stop, self._view.evaluating)
        except Stopped:
            self._save()
            raise

    def _save(self) -> None:
        self._journal.count_seconds()
        self._saver.save(self.state)
