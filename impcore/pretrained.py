"""Where a pretrained model or its tokenizer is: in a folder here, or on the Hugging Face hub.

Invariant: a folder comes before a model of its name, as in transformers, and what cannot be a
model's name is never asked of the hub.
"""

from __future__ import annotations

import os
import re

_NAME = re.compile(r"(\w[\w.-]*/)?\w[\w.-]*", re.ASCII)


def is_hub_name(place: str) -> bool:
    """Whether `place` would be looked for on the hub: bert-base-uncased, or google/bert."""
    return _NAME.fullmatch(place) is not None and not os.path.isdir(place)


def source(place: str) -> str | None:
    """`place` as transformers takes it, a folder or a name; None if it can be neither."""
    folder = os.path.expanduser(place)
    return folder if os.path.isdir(folder) or is_hub_name(place) else None


def reason(error: Exception, source: str) -> str:
    """What transformers says of a source that it cannot read, and how to do without the hub."""
    more = " (a folder that holds its files needs no hub)" if is_hub_name(source) else ""
    return f"{str(error)[:500]}{more}"
