"""What the tables share: the strict base model, and the types of their keys.

Invariant: a value of one of these types is of its own TOML type, finite and in range.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", re.ASCII)


def plain_name(text: str) -> str:
    """`text`, if it can name a file anywhere; ValueError otherwise."""
    if not NAME.fullmatch(text) or ".." in text:
        raise ValueError("should be letters, digits, '_', '-' or single '.', and no path")
    return text


def _path(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("should be a path of printable characters")
    return text


def no_parent(text: str) -> str:
    """`text`, if it is a path that leads nowhere up; ValueError otherwise."""
    if ".." in Path(text).parts:
        raise ValueError("should not contain '..': write the absolute path instead")
    return text


def home(text: str) -> str:
    """`text` with a leading ~ as the home directory, where a shell did not see to it."""
    return os.path.expanduser(text)


def shown_as(default: object) -> FieldInfo:
    """The default that the help shows for a key whose default depends on others."""
    return cast(FieldInfo, Field(json_schema_extra=cast(Any, {"default": default})))


def listed(value: object) -> object:
    """A TOML array as the tuple that a frozen table keeps."""
    return tuple(value) if isinstance(value, list) else value


Options = dict[str, dict[str, dict[str, object]]]
"""Choosing key -> its value -> the keys that only it takes, with their defaults there."""

Text = Annotated[str, Field(min_length=1, max_length=1000)]
PathText = Annotated[str, Field(max_length=4000), AfterValidator(_path)]
Unit = Annotated[float, Field(ge=0, lt=1)]
BatchSize = Annotated[int, Field(ge=1, le=2**20)]
Patterns = Annotated[
    tuple[Text, ...], Field(min_length=1, max_length=1000), BeforeValidator(listed)
]


class Table(BaseModel):
    """What all tables share: strict types, no unknown keys, no NaN or infinity, no changes."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )


class Choosing(Table):
    """A table with keys that only some values of its choosing keys take.

    Such a key gets its default where the chosen value takes it, and has no value elsewhere; giving
    it one there is a fault (rules.py).
    """

    OPTIONS: ClassVar[Options] = {}

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_choices(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        for key, choices in cls.OPTIONS.items():
            chosen = filled.get(key, cls.model_fields[key].default)
            options = choices.get(chosen, {}) if isinstance(chosen, str) else {}
            for option, default in options.items():
                if filled.get(option) is None:
                    filled[option] = default
        return filled

    def options_of(self, key: str) -> dict[str, Any]:
        """The keys that only the value of a choosing key takes, with their values."""
        return {option: getattr(self, option) for option in self.OPTIONS[key][getattr(self, key)]}
