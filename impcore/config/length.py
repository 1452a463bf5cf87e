"""Lengths of training as a recipe writes them: "160ep", "5000it", "5%".

Invariant: a `Length` is a string that has been checked, so it is written to TOML as it was read and
two configs are equal exactly if their text is. Its arithmetic is rational, never floating.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_LENGTH = re.compile(r"(?P<value>[0-9]{1,12}(?:\.[0-9]{1,6})?)(?P<unit>ep|it|%)", re.ASCII)
_MAX = 10**9


class Length(str):
    """A positive length of training: epochs ("160ep"), steps ("5000it") or percent ("5%").

    Epochs and percent may have decimals ("0.5ep"), steps may not. Percent is of `train.length`.
    Raises ValueError on anything else.
    """

    __slots__ = ()
    names: ClassVar[tuple[str, ...]] = ()
    _examples: ClassVar[str] = "'160ep', '5000it' or '5%'"

    def __new__(cls, text: object) -> Self:
        """`text`, checked; what is no text is none of these."""
        self = super().__new__(cls, text)
        if text in cls.names:
            return self
        match = _LENGTH.fullmatch(text) if isinstance(text, str) else None
        named = "".join(f", or {name!r}" for name in cls.names)
        if match is None or (match["unit"] == "it" and "." in match["value"]):
            raise ValueError(f"should be a length like {cls._examples}{named}")
        limit = 100 if match["unit"] == "%" else _MAX
        if not 0 < Fraction(match["value"]) <= limit:
            raise ValueError(f"should be above 0 and at most {limit}{match['unit']}{named}")
        return self

    @property
    def unit(self) -> str:
        """One of "ep", "it", "%"."""
        return "%" if self.endswith("%") else self[-2:]

    @property
    def value(self) -> Fraction:
        """The number before the unit, exactly."""
        return Fraction(self.removesuffix(self.unit))

    def steps(self, steps_per_epoch: int, total_steps: int | None = None) -> int:
        """This length in optimiser steps, rounded to the nearest (halves to even, as Python does).

        `total_steps` is what percent refers to; without it a percentage raises ValueError.
        """
        if self.unit == "it":
            return int(self.value)
        if self.unit == "ep":
            return round(self.value * steps_per_epoch)
        if total_steps is None:
            raise ValueError(f"{self!r} is a percentage, and there is no total to refer it to")
        return round(self.value * total_steps / 100)

    def fraction_of(self, total: Length) -> Fraction | None:
        """This length divided by `total`; None if that depends on the number of steps an epoch."""
        if self.unit == "%":
            return self.value / 100
        return self.value / total.value if self.unit == total.unit else None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "format": "length"}


class TrainLength(Length):
    """A `Length` that refers to no other: epochs or steps, not percent."""

    __slots__ = ()
    _examples = "'160ep' or '5000it'"

    def __new__(cls, text: object) -> Self:
        """`text`, checked."""
        self = super().__new__(cls, text)
        if self.unit == "%":
            raise ValueError("should be epochs ('160ep') or steps ('5000it'), not a percentage")
        return self


class RewindPoint(Length):
    """Where training is rewound to: a `Length` after its start, or "init" or "pretrained" (both 0).

    "init" is the state before the first step; "pretrained" is the same, said of loaded weights.
    """

    __slots__ = ()
    names: ClassVar[tuple[str, ...]] = ("init", "pretrained")

    @property
    def unit(self) -> str:
        """One of "ep", "it", "%"."""
        return "it" if self in self.names else super().unit

    @property
    def value(self) -> Fraction:
        """The number before the unit, exactly; 0 for a name."""
        return Fraction(0) if self in self.names else super().value
