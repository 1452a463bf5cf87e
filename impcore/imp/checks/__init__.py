"""`impcore-run --check`: whether a long run would go through, and about how long it would take.

Invariant: nothing is written, neither a run directory nor decoded images nor tokens; but weights
and texts that a recipe takes from the Hugging Face hub are downloaded into its cache, as without
them there is nothing to check. Whatever is wrong, the rest is still checked, with something of the
same size in the place of what is missing.
"""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from impcore.config import Config
from impcore.data.text.cache import unwritten
from impcore.errors import ConfigError, ImpcoreError
from impcore.imp import lab
from impcore.imp.checks.estimate import Estimate, measure, rough
from impcore.imp.checks.findings import Findings
from impcore.imp.checks.hub import asked_once
from impcore.imp.checks.resources import memory, room, run_directory
from impcore.imp.checks.samples import data_of
from impcore.imp.determinism import deterministic
from impcore.imp.materials import AnyDataset
from impcore.output import Tell, doing

__all__ = ["check"]


def check(config: Config, console: Console | None = None) -> int:
    """Check everything that `config` needs, print a table, and return 0, or 2 if there is a fault.

    Data and weights are read, the run is timed for some steps, and nothing of it is kept.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError("--check looks at one process; start it without torchrun")
    findings, runs = Findings(), _runs(config)
    with (
        deterministic(config.run.threads),
        unwritten(),
        doing() as tell,
        asked_once(runs.values(), findings),
    ):
        estimates = [_one(run, name, findings, tell) for name, run in runs.items()]
    run_directory(config, findings)
    known = [estimate for estimate in estimates if estimate is not None]
    if known:
        needed = sum(estimate.disk for estimate in known)
        room("disk", needed, "checkpoints and tickets", Path(config.run.out), findings)
    if len(known) == len(estimates) > 1:
        total = sum(estimate.seconds for estimate in known)
        findings.note("all runs", f"about {rough(total)}; an estimate")
    findings.show(console or Console(highlight=False))
    return 2 if findings.faults else 0


def _runs(config: Config) -> dict[str, Config]:
    """Prefix -> run: the only one, or all that an experiment is made of."""
    if config.run.experiment == "imp":
        return {"": config}
    return {f"{name}: ": run.stand_in(config) for name, run in config.sub_runs().items()}


def _one(config: Config, prefix: str, findings: Findings, tell: Tell) -> Estimate | None:
    tell(f"{prefix}looking at the data")
    found = data_of(config, prefix, findings)
    if found is None:
        return None
    tell(f"{prefix}making the model")
    made = _made(config, found, prefix, findings)
    if made is None:
        return None
    try:
        estimate = measure(made, lambda what: tell(f"{prefix}timing {what}"))
    except (ImpcoreError, RuntimeError) as error:  # PyTorch's out-of-memory is a RuntimeError
        findings.fault(f"{prefix}steps", str(error).strip().partition("\n")[0])
        return None
    findings.note(f"{prefix}time", estimate.describe())
    memory(made.device, estimate, prefix, findings)
    return estimate


def _made(config: Config, dataset: AnyDataset, prefix: str, findings: Findings) -> lab.Lab | None:
    """The lab; without the weights that are given, if only they are at fault."""
    try:
        made = lab.build(config, dataset=dataset)
    except ConfigError as error:
        of_weights = str(error).startswith("model.path")
        findings.fault(f"{prefix}{'weights' if of_weights else 'recipe'}", str(error))
        if not of_weights or config.model.path is None:
            return None
        bare = config.model.model_copy(update={"path": None})
        try:
            return lab.build(config.model_copy(update={"model": bare}), dataset=dataset)
        except (ImpcoreError, AssertionError):
            return None  # the sizes of the network are in the missing file
    except (ImpcoreError, ValueError) as error:
        findings.fault(f"{prefix}recipe", str(error))
        return None
    if made.weights is not None:
        findings.note(f"{prefix}weights", f"{config.model.path}: {made.weights.describe()}")
    findings.note(f"{prefix}model", f"{config.model.arch}, {made.aim()}")
    return made
