from __future__ import annotations

import subprocess
import sys
import typing

from impcore.config import Run
from impcore.imp.learning_rate import SHAPES
from impcore.imp.optimizers import OPTIMIZERS
from impcore.imp.registry import EXPERIMENTS
from impcore.imp.schedule import SCHEDULES
from impcore.imp.tasks import TASKS


def test_what_a_recipe_may_name_is_what_there_is() -> None:
    from impcore.config import Prune, Train

    def names(table: type, key: str) -> set[str]:
        return set(typing.get_args(table.model_fields[key].annotation))

    assert names(Run, "experiment") == set(EXPERIMENTS)
    assert names(Train, "optimizer") == set(OPTIMIZERS)
    assert names(Train, "schedule") == set(SHAPES)
    assert names(Prune, "schedule") == set(SCHEDULES)
    assert set(TASKS) == {"classification", "regression", "extractive_qa", "mlm"}


def test_importing_the_floor_does_not_import_torch() -> None:
    script = "import sys, impcore.imp; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
