"""Where a benchmark runs: what the host and a GPU each make of a contender and of a floor.

A benchmark says what is timed; a place says how. Invariant: all that a comparison compares is timed
in turns, the floor too.
"""

from __future__ import annotations

from gpu import Gpu
from host import Host

Place = Host | Gpu
