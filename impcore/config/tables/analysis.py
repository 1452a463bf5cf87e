"""[analysis]: what the flow is measured on."""

from __future__ import annotations

from typing import Literal

from impcore.config.tables.base import Table


class Analysis(Table):
    """What the flow is measured on."""

    granularity: Literal["stage", "block"] = "stage"
    """The blocks of the flow: the network's stages, or its residual blocks."""
    theta: Literal["trained", "rewound"] = "trained"
    """The weights that M is measured on: at the end of a training, or after the rewind."""
