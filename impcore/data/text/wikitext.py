"""WikiText-103, raw (Merity et al. 2017): running text for masked language modelling.

Invariant: lines come out as they are in the files, headings and empty lines included.
"""

from __future__ import annotations

from pathlib import Path

from impcore.data import places
from impcore.data.text.lines import read_lines

TRAIN, DEV = "wiki.train.raw", "wiki.valid.raw"
_HOW = (
    f"to get them, unpack wikitext-103-raw-v1.zip ({TRAIN}, {DEV}) there, or set data.source = "
    '"hub"; any running text under these two names will do'
)


def read(root: str | Path | None) -> tuple[list[str], list[str]]:
    """The lines for training and validation. Raises DataError."""
    path = places.find("wikitext", root, "", (TRAIN, DEV), _HOW)
    return read_lines(path / TRAIN), read_lines(path / DEV)
