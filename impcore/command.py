"""What impcore-run does: one command line, parsed once, and one function called.

Invariant: nothing heavy is imported and nothing is created before the whole recipe is known to be
right.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import tyro

import impcore
from impcore import config
from impcore.config.recipe import TABLES
from impcore.errors import ConfigError, ImpcoreError
from impcore.imp.torchrun import speaks, told_once

_DESCRIPTION = """Iterative magnitude pruning and its renormalisation-group analysis, from a recipe.

Running the same command again resumes the run. The options with a dot set keys of the recipe: its
own values are the defaults, and those shown here where it has none. A list is given as words
(--train.milestones 80ep 120ep); none takes a value away from a key that may be without one. Of a
recipe with tasks, --tasks.task.NAME.TABLE.KEY, --tasks.init.NAME.TABLE.KEY,
--tasks.pretrain.TABLE.KEY and --tasks.about set keys of the entries that it has."""
_WORDS = {"boolean": "true|false", "integer": "INT", "number": "NUMBER", "string": "TEXT"}


def _option(schema: dict[str, Any], required: bool) -> Any:
    """The tyro type of one key: its text, with the help that its JSON schema holds."""
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    words = _words(kinds[0])
    default = "required" if required else f"default: {json.dumps(schema['default'])}"
    argument = tyro.conf.arg(
        help=schema.get("description", ""),
        help_behavior_hint=f"({default.replace('null', 'none')})",
        metavar=words,
    )
    kind = tuple[str, ...] if kinds[0]["type"] == "array" else str
    return Annotated[kind, argument]


def _words(kind: dict[str, Any]) -> str:
    if kind["type"] == "array":
        return f"[{_words(kind['items'])} ...]"
    if "format" in kind:
        return str(kind["format"]).upper()
    names = kind.get("enum") or [kind.get("const") or _WORDS[kind["type"]]]
    return "|".join(names)


def _table(name: str) -> Any:
    schema = TABLES[name].model_json_schema()
    required = schema.get("required", [])
    keys = {key: _option(part, key in required) for key, part in schema["properties"].items()}
    return TypedDict(name, keys, total=False)  # type: ignore[operator]


if TYPE_CHECKING:
    Overrides = dict[str, dict[str, object]]
else:
    Overrides = TypedDict("Overrides", {name: _table(name) for name in TABLES}, total=False)


Flag = Annotated[bool, tyro.conf.arg(help_behavior_hint="")]


@dataclass
class Arguments:
    """What a command line says."""

    recipe: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE", help_behavior_hint="")
    ] = ""
    """A recipe: a TOML file, with or without .toml, or the name of one that ships."""
    list: Flag = False
    """List the recipes that ship."""
    version: Flag = False
    """Print the version."""
    check: Flag = False
    """Verify data, weights, disk and memory, estimate the run's time, and write nothing."""
    force_resume: Flag = False
    """Resume although recipe, model, data, code or torch changed; marks the run "not bit-exact"."""
    overrides: Annotated[Overrides, tyro.conf.arg(name="")] = field(default_factory=dict)


def main(argv: Sequence[str]) -> int:
    """Runs the command line `argv` and returns its exit code, but for Ctrl-C's."""
    try:
        with told_once():
            words, entries = config.split_entries(argv)
            arguments = _parsed(words)
            if (answer := _answer(arguments)) is not None:
                if speaks():
                    print(answer)
                return 0
            overrides = {**config.typed(arguments.overrides), "tasks": entries}
            resolved = config.load(arguments.recipe, overrides)
            if arguments.check:
                from impcore.imp import check

                return check(resolved)
        from impcore.imp import run  # PyTorch loads here, once the recipe is known to be right

        return run(resolved, force_resume=arguments.force_resume)
    except ImpcoreError as error:
        print(f"impcore-run: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1


def _parsed(words: Sequence[str]) -> Arguments:
    return tyro.cli(
        Arguments,
        prog="impcore-run",
        description=_DESCRIPTION,
        args=words,
        console_outputs=speaks(),
        config=(tyro.conf.FlagCreatePairsOff,),
        use_underscores=True,
    )


def _answer(arguments: Arguments) -> str | None:
    """What is asked for instead of a run; None of a recipe."""
    if arguments.version:
        return f"impcore {impcore.__version__}"
    if arguments.list:
        recipes = config.shipped()
        width = max(map(len, recipes))
        return "\n".join(f"{name:<{width}}  {line}" for name, line in recipes.items())
    if not arguments.recipe:
        raise ConfigError("name a recipe; `impcore-run --list` shows those that ship")
    return None
