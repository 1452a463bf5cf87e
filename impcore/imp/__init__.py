"""Experiments: rounds, rewinding, training, run directory, tickets.

`run` is what the command line calls. Importing this module does not import PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from impcore.config import Config
    from impcore.imp.distributed import World

__all__ = ["check", "run"]


def run(config: Config, *, force_resume: bool = False) -> int:
    """Run the experiment that `config` names, or go on with it, and return the exit code.

    Under torchrun it is one of several processes (see `impcore.imp.distributed`).

    0 done; 130 or 143 if SIGINT or SIGTERM came before, its state saved. Running it again resumes:
    the result has the bytes of a run that never stopped. `force_resume` goes on although config,
    data, code or versions have changed, and marks the run "not bit-exact".

    Raises an ImpcoreError for everything else that is wrong; what was saved stays.
    """
    from impcore.imp.torchrun import joined

    with joined(config.run.device) as world:
        return _run(config, force_resume, world)


def _run(config: Config, force_resume: bool, world: World) -> int:
    from impcore.imp.determinism import deterministic
    from impcore.imp.registry import EXPERIMENTS
    from impcore.imp.signals import Stopped, watch
    from impcore.imp.view import View

    view = View(quiet=not world.is_writer)
    stop = world.stop()
    with watch(stop, say=world.is_writer), deterministic(config.run.threads):
        try:
            EXPERIMENTS[config.run.experiment](
                config, stop=stop, view=view, force_resume=force_resume, world=world
            )
            stop.check_alone()  # asked for while the report was written
        except Stopped as stopped:
            view.note(f"{stopped}; run the same command again to go on")
            return stopped.exit_code
    return 0


def check(config: Config) -> int:
    """Print whether the run of `config` would go through, and return 0, or 2 if not.

    Writes nothing; see `impcore.imp.checks`.
    """
    from impcore.imp.checks import check as checked

    return checked(config)
