"""The experiments by the name that `run.experiment` gives them.

Invariant: this is the only place that turns a name into code; a name that is not here runs nothing.
An experiment goes on from what its run directory holds, writes there only, returns when done,
and raises Stopped, its state saved, when asked to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from impcore.imp.experiment import imp
from impcore.imp.over_tasks import tasks

EXPERIMENTS: Mapping[str, Callable[..., None]] = {"imp": imp, "tasks": tasks}
"""Name -> function, called as `imp` is: (config, *, stop, view, force_resume, world)."""
