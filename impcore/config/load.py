"""From a recipe's name and the overrides of a command line to a `Config`.

Invariant: whatever a file holds, reading it ends in a document or a ConfigError that names the file
and, where there is one, the line and its text; nothing is created on disk.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from impcore.config import entries
from impcore.config.faults import Fault, quote, quote_key, quote_path, suggestion
from impcore.config.recipe import Config
from impcore.errors import ConfigError

MAX_BYTES = 2**20
_SHIPPED = Path(__file__).parent.parent / "recipes"
_BOM = b"\xef\xbb\xbf"
_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_HUGE_INTEGER = re.compile(r"[0-9_]{4000,}")
_STRING = re.compile(r"""["](?:[^"\\\n]|\\.)*+["]?|'[^'\n]*+'?""")
_DEEP_KEY = re.compile(r"(?<![\w-])(?:[\w-]+[ \t]*\.[ \t]*){16}")


def shipped() -> dict[str, str]:
    """Name of each recipe that comes with the package, and the first line of its comment."""
    lines = {path.stem: path.read_text("utf-8").partition("\n")[0] for path in _recipes()}
    return {name: line.removeprefix("#").strip() for name, line in lines.items()}


def load(source: str | Path, overrides: Mapping[str, Mapping[str, object]] | None = None) -> Config:
    """The recipe `source` with `overrides` ({table: {key: value}}) put over it, of [tasks] a part.

    `source` is a file, with or without `.toml`; failing that, the name of a shipped recipe. The run
    is named after the file unless `run.name` says otherwise. ConfigError lists every fault.
    """
    path = find(source)
    document = read(path)
    faults: list[Fault] = []
    for table, keys in (overrides or {}).items():
        if keys and table == "tasks":
            faults += entries.put_over(document.get(table), keys)
        elif keys:
            below = document.setdefault(table, {})
            document[table] = {**below, **keys} if isinstance(below, dict) else keys
    run = document.setdefault("run", {})
    if isinstance(run, dict):
        run.setdefault("name", re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem)[:100] or "run")
    try:
        if faults:
            raise ConfigError("\n".join(map(str, faults)))
        return Config.from_dict(document)
    except ConfigError as error:
        count = len(str(error).splitlines())
        heading = f"{quote_path(path)}: {count} fault{'s' * (count > 1)}:\n"
        raise ConfigError(heading + str(error)) from None


def find(source: str | Path) -> Path:
    """The file that `source` means: an existing file first, then a shipped recipe."""
    if not str(source) or "\0" in str(source):
        raise ConfigError(f"recipe {quote(str(source))}: should be a file or a shipped recipe")
    for name in (str(source), f"{source}.toml"):
        if os.path.isfile(name):
            return Path(name)
    for path in _recipes():
        if str(source) in (path.name, path.stem):
            return path
    if os.path.exists(source):
        raise ConfigError(f"recipe {quote(str(source))}: is not a regular file")
    close = suggestion(Path(source).stem, (path.stem for path in _recipes()))
    raise ConfigError(f"recipe {quote(str(source))}: no such file or shipped recipe{close}")


def read(path: Path) -> dict[str, Any]:
    """The TOML document in `path`; ConfigError if there is none, with the line that breaks it."""
    where = quote_path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{where}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{where}: is larger than {MAX_BYTES} bytes, which no recipe is")
    if data.startswith(_BOM):
        raise ConfigError(f"{where}: starts with a byte-order mark; save it as UTF-8 without one")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{where}, line {line}: is not UTF-8") from error
    return _parse(text, where)


def _parse(text: str, where: str) -> dict[str, Any]:
    deep = _DEEP_KEY.search(_STRING.sub("s", text))  # tomllib's time is quadratic in a key's parts
    if deep is not None:
        key = quote_key(deep[0])
        raise ConfigError(f"{where}: is nested too deeply for a recipe: {key}")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(f"{where}: is nested too deeply for a recipe") from None
    except tomllib.TOMLDecodeError as error:
        match = _LINE.search(str(error))
        reason = _LINE.sub("", str(error)).strip()
        number = int(match[1]) if match else text.count("\n") + 1
    except ValueError as error:  # Python refuses to convert integers of thousands of digits
        digits = _HUGE_INTEGER.search(text)
        if digits is None:
            raise ConfigError(f"{where}: {error}") from error
        number, reason = text.count("\n", 0, digits.start()) + 1, "the integer is too long"
    line = text.split("\n")[number - 1].strip()
    raise ConfigError(f"{where}, line {number}: {reason}: {quote_key(line)}")


def _recipes() -> list[Path]:
    return sorted(_SHIPPED.glob("*.toml"))
