"""[run]: what is run, and where it writes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from impcore.config.tables.base import NAME, PathText, Table, home, no_parent, plain_name, shown_as


class Run(Table):
    """What is run, and where it writes."""

    experiment: Literal["imp", "tasks"] = "imp"
    """Iterative magnitude pruning: once, or of several tasks and initialisations ([tasks])."""
    name: Annotated[str, AfterValidator(plain_name), shown_as("<recipe>")] = "run"
    """The run's name."""
    out: Annotated[
        PathText, AfterValidator(home), AfterValidator(no_parent), shown_as("runs/<name>")
    ] = "runs/run"
    """The run directory itself."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """Seed of initialisation, data order and augmentation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes CUDA if it is there."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads; 0 leaves PyTorch's own choice."""
    tensorboard: bool = False
    """Write curves for TensorBoard into the run directory (extra `tensorboard`)."""

    @model_validator(mode="before")
    @classmethod
    def _out_follows_name(cls, data: object) -> object:
        if isinstance(data, dict) and "out" not in data:
            name = data.get("name")
            if isinstance(name, str) and NAME.fullmatch(name) and ".." not in name:
                return {**data, "out": f"runs/{name}"}
        return data
