"""A ticket as a folder for the Hugging Face hub: masks, weights, recipe and a model card.

    mask.safetensors      packed masks, provenance, and the SHA-256 of the next two files
    rewind.safetensors    the weights to start from, under their state-dict names
    config.toml           the recipe of the run, or where there was none the provenance, without
                          nulls, which TOML has not
    README.md             the model card; for readers, and theirs to change

Invariant: what `load` returns is what `save` was given, or it raises; files of two tickets never
pass for one. No pickle, no links, and nothing in the files is used as a path.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from impcore import atomic
from impcore.errors import TicketError
from impcore.imp import sealed

if TYPE_CHECKING:
    from impcore.imp.ticket import Ticket

MASK, REWIND, CONFIG, CARD = "mask.safetensors", "rewind.safetensors", "config.toml", "README.md"
_MASK_KIND, _REWIND_KIND = "impcore-mask-1", "impcore-rewind-1"
_BOUND = {REWIND: "rewind_sha256", CONFIG: "config_sha256"}

_CARD = """---
library_name: impcore
tags: [pruning, sparsity, lottery-ticket]
---

# A lottery ticket: {remaining:,} of {total:,} weights ({density:.2%})

A mask and the weights to train it from, made by impcore.

| | |
|---|---|
{rows}

```python
import impcore

ticket = impcore.Ticket.load("this folder")  # checks every file's SHA-256
masks = ticket.apply(model)  # the rewind weights under the mask, which stays
```

`rewind.safetensors` is a plain state dict. `mask.safetensors` holds a uint8 tensor a parameter, its
mask packed in logical order, least significant bit first:

```python
bits = numpy.unpackbits(packed, count=weight.numel(), bitorder="little")
mask = bits.reshape(weight.shape).astype(bool)
```

Unstructured sparsity makes dense kernels no faster.
"""


def save(ticket: Ticket, folder: Path) -> None:
    """Write the files, each atomically; the mask, which seals the others, comes last.

    Raises TicketError if `folder` is a file or a header is too long to be read back,
    RunDirectoryError if it cannot be written, TypeError for a dtype that safetensors does not know.
    """
    if folder.exists() and not folder.is_dir():
        raise TicketError(f"{folder}: is a file; should be a folder, or not exist")
    config = _config(ticket.provenance).encode()
    try:
        rewind = sealed.pack(_REWIND_KIND, {}, ticket.rewind)
        content = {
            "provenance": dict(ticket.provenance),
            "rewind_sha256": _sha256(rewind),
            "config_sha256": hashlib.sha256(config).hexdigest(),
        }
        mask = b"".join(sealed.pack(_MASK_KIND, content, ticket.masks))
    except OSError as error:  # a header that is too long
        raise TicketError(f"{folder}: could not be written ({error.strerror})") from error
    atomic.make_directory(folder)
    atomic.write(folder / REWIND, rewind)
    atomic.write(folder / CONFIG, config)
    atomic.write(folder / CARD, _card(ticket).encode())
    atomic.write(folder / MASK, mask)


def load(folder: Path) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """The masks, the rewind weights and the provenance in a folder.

    Raises SealError, naming the file, if one is missing, damaged, or of another ticket.
    """
    with _named(MASK):
        content, masks = sealed.load(_MASK_KIND, folder / MASK)
    for name, key in _BOUND.items():
        with _named(name), sealed.opened(folder / name) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != content.get(key):
                raise sealed.SealError(f"damaged, or not the one that {MASK} was saved with")
    with _named(REWIND):
        _, rewind = sealed.load(_REWIND_KIND, folder / REWIND)
    return masks, rewind, content.get("provenance")


def _sha256(pieces: Iterable[bytes | memoryview]) -> str:
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Gives a SealError the name of the file."""
    try:
        yield
    except sealed.SealError as error:
        raise sealed.SealError(f"{name}: {error}") from error


def _config(provenance: Mapping[str, Any]) -> str:
    recipe = provenance.get("recipe")
    return recipe if isinstance(recipe, str) else tomli_w.dumps({"ticket": _present(provenance)})


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Sorted, and without None, of which TOML has none."""
    return {key: _shown(value) for key, value in sorted(values.items()) if value is not None}


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _present(value)
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value if each is not None]
    return value


def _card(ticket: Ticket) -> str:
    rows = [
        f"| {key} | {_cell(value)} |"
        for key, value in _present(ticket.provenance).items()
        if key != "recipe"
    ]
    return _CARD.format(
        remaining=ticket.remaining,
        total=ticket.total,
        density=ticket.remaining / ticket.total if ticket.total else 1,
        rows="\n".join(rows),
    )


def _cell(value: Any) -> str:
    text = (
        ", ".join(f"{k} {v}" for k, v in value.items())
        if isinstance(value, Mapping)
        else str(value)
    )
    return " ".join(text.split()).replace("|", "\\|")
