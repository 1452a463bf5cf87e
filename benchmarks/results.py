"""Result files: what was measured, where, when, and by which command.

A file of a CPU holds one benchmark. A GPU has one file with a section a benchmark: each is replaced
as its benchmark goes on, and the others stay.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from comparison import Report
from targets import Target

RESULTS = Path(__file__).with_name("results")


def as_json(
    name: str, report: Report, targets: list[Target], about: dict[str, Any]
) -> dict[str, Any]:
    """A benchmark's results as plain data."""
    data: dict[str, Any] = {"benchmark": name, "machine": about}
    data["rows"] = [comparison.as_json() for comparison in report.comparisons]
    if targets:
        data["targets"] = [target.as_json() for target in targets]
    if report.left_out:
        data["left_out"] = report.left_out
    return data


def save(data: dict[str, Any], out: Path) -> None:
    """Writes one benchmark's results as a file of their own."""
    _write(data, out)


def merge(data: dict[str, Any], out: Path) -> None:
    """Writes one benchmark's results as a section of a GPU's file (raises like `read`)."""
    device = data["machine"]["gpu"]
    _write({**read(out, device), "device": device, data["benchmark"]: data}, out)


def read(out: Path, device: str) -> dict[str, Any]:
    """The sections of a GPU's file, which need not be there yet.

    Raises:
        ValueError: the file is of another device, or no such file at all.
    """
    if not out.exists():
        return {}
    whole: dict[str, Any] = json.loads(out.read_text())
    if whole.get("device") != device:
        raise ValueError(f"{out} holds results of {whole.get('device')}, these are of {device}")
    return whole


def _write(data: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    part.write_text(json.dumps(data, indent=1) + "\n")
    os.replace(part, out)


def file_of(device: str) -> Path:
    """The file of a GPU by its name: "NVIDIA H200" -> nvidia-h200.json."""
    return RESULTS / (re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") + ".json")
