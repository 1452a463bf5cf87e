"""[tasks]: which tasks the experiment "tasks" compares, and from which initialisations.

Invariant: nothing here is a setting of its own. Every entry is put over the recipe's tables and
read by the same models as they are, so what a task may say is what a recipe may say.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from impcore.config.tables.base import Table, Text, plain_name

Name = Annotated[str, AfterValidator(plain_name)]
Part = dict[str, dict[str, Any]]
"""Part of a recipe, {table: {key: value}}, that is put over the whole one."""

PRETRAINED = "pretrained"
RANDOM = "random"


def _both() -> dict[str, Part]:
    return {RANDOM: {}, PRETRAINED: {}}


class Tasks(Table):
    """Several tasks, each from several initialisations.

    The recipe's own tables are what all runs have in common. Every entry below holds tables that
    are put over them, key by key: `[tasks.task.parity]` with `data.name = "digits_parity"`.
    """

    about: Text | None = None
    """What is compared, and how far it can be trusted: the report begins with it."""
    pretrain: Part | None = None
    """The pre-training (model, data, train): one training, of which init.pretrained takes up."""
    init: Annotated[dict[Name, Part], Field(min_length=1, max_length=20)] = Field(
        default_factory=_both
    )
    """Initialisations: random; pretrained, from `pretrain`; others name a model.path of theirs."""
    task: Annotated[dict[Name, Part], Field(min_length=1, max_length=100)]
    """The tasks; each is run from every initialisation."""

    def __hash__(self) -> int:
        """Of the content: the dictionaries in it are as frozen as the table."""
        return hash(json.dumps(self.model_dump(), sort_keys=True))
