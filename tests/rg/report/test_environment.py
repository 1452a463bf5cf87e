"""Versions of this machine, and what the run recorded about its own."""

from __future__ import annotations

import platform

import numpy as np

import impcore
from impcore.rg.report.environment import environment, recorded
from impcore.rg.rows import Row


def row(extra):
    return Row(0, 1.0, 1, 1, 0.5, 0.1, 1.0, "ab", extra)


def test_names_what_is_installed():
    found = environment()
    assert found["numpy"] == np.__version__
    assert found["impcore"] == impcore.__version__
    assert platform.python_version() in found["python"]


def test_only_what_every_round_repeats_describes_the_run():
    rows = [
        row({"device": "cpu", "lr": 0.1, "versions": {"torch": "2.13"}, "list": [1]}),
        row({"device": "cpu", "lr": 0.2, "versions": {"torch": "2.13"}, "list": [1], "late": 1}),
    ]
    assert recorded(rows) == {"device": "cpu", "versions.torch": "2.13"}
    assert recorded([]) == {}
