"""One safetensors file with a checksum over every byte: the container of tickets and checkpoints.

Invariant: `unpack` returns what `pack` was given, or raises. The file's only metadata entry is
`impcore: "<kind> sha256:<64 hex digits> <JSON>"`; the digest covers the whole file with its own 64
digits read as zeros. No pickle, and nothing in a file is ever used as a path.

The safetensors library reads these files; it is not used to write them because it copies every
tensor twice (a checkpoint of 283 MB took 2.0 s instead of 0.9 s), needs them unshared, and puts
several metadata entries in no fixed order. Nor does it notice flipped bits: what it has read is
hashed, so that the digest covers what is returned, whatever becomes of the file meanwhile.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_safetensors

_BLANK = b"0" * 64
_HEADER_LIMIT = 64 * 2**20
"""Bytes: what claims more is not read, and so not written."""
_SMALL = 2**18
"""Bytes; smaller tensors are copied together, since each piece costs a call or two of its own."""
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_MALFORMED = (
    SafetensorError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError
)  # fmt: skip
Content = dict[str, Any]


class SealError(ValueError):
    """The bytes are not a sealed file of the wanted kind, or are damaged; the message says how."""


@dataclass(frozen=True)
class Pieces:
    """A sealed file in pieces, for `atomic.write`; its header is made as they are gone through."""

    kind: str
    content: Mapping[str, Any]
    shapes: Mapping[str, tuple[torch.dtype, torch.Size, int]]
    """Of the tensors in `data`, in their order: dtype, shape and bytes."""
    data: Sequence[memoryview]

    def __iter__(self) -> Iterator[bytes | memoryview]:
        header = self._header()
        sha256 = hashlib.sha256(header)
        for piece in self.data:
            sha256.update(piece)
        yield header.replace(_BLANK, sha256.hexdigest().encode(), 1)
        yield from self.data

    def _header(self) -> bytes:
        """The header, with a blank digest."""
        text = json.dumps(self.content, allow_nan=False, separators=(",", ":"))
        header: dict[str, Any] = {
            "__metadata__": {"impcore": f"{self.kind} sha256:{_BLANK.decode()} {text}"}
        }
        end = 0
        for name, (dtype, shape, nbytes) in self.shapes.items():
            start, end = end, end + nbytes
            header[name] = {
                "dtype": _DTYPES[dtype],
                "shape": list(shape),
                "data_offsets": [start, end],
            }
        packed = json.dumps(header, separators=(",", ":")).encode()
        packed += b" " * (-len(packed) % 8)  # as safetensors pads it
        if len(packed) > _HEADER_LIMIT:
            raise OSError(
                errno.EFBIG,
                f"its header would have {len(packed):,} bytes; {_HEADER_LIMIT:,} can be read back",
            )
        return len(packed).to_bytes(8, "little") + packed


def pack(
    kind: str,
    content: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    *,
    copied: bool = False,
) -> Pieces:
    """The pieces of a sealed file, in order.

    `content` is JSON (finite numbers only), and must not change any more; tensors may be on any
    device and in any layout, and are stored contiguous. The same input gives the same bytes, and
    keys stay in their order. Unless `copied`, the pieces look into the memory of tensors that are
    contiguous on the CPU: write them before the tensors change.

    Raises TypeError for a dtype that safetensors does not know; content that is not JSON, or more
    than can be read back (OSError), is refused as the pieces are gone through.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _DTYPES:
            raise TypeError(f"{name}: safetensors has no {tensor.dtype}")
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    found = [(name, tensors[name]) for name in order]
    shapes = {name: (tensor.dtype, tensor.shape, tensor.nbytes) for name, tensor in found}
    return Pieces(kind, content, shapes, _bytes([tensor for _, tensor in found], copied))


@torch.no_grad()
def _bytes(tensors: Sequence[torch.Tensor], copied: bool) -> list[memoryview]:
    """The bytes of the tensors, one after the other."""

    def kind(tensor: torch.Tensor) -> tuple[bool, torch.dtype, torch.device]:
        return tensor.nbytes < _SMALL, tensor.dtype, tensor.device

    found = []
    for (small, *_), group in groupby(tensors, kind):
        alike = list(group)
        for piece in [torch.cat([each.flatten() for each in alike])] if small else alike:
            flat = piece.flatten()  # a copy, unless it is contiguous
            shared = not small and flat.data_ptr() == piece.data_ptr()
            on_host = flat.to("cpu", copy=copied and shared)
            found.append(on_host.view(torch.uint8).numpy().data)
    return found


def unpack(kind: str, data: bytes) -> tuple[Content, dict[str, torch.Tensor]]:
    """The content and the tensors (on the CPU) of a sealed file's bytes. Raises SealError."""
    return _checked(kind, _header(io.BytesIO(data), len(data)), lambda: load_safetensors(data))


def load(kind: str, path: Path) -> tuple[Content, dict[str, torch.Tensor]]:
    """As `unpack`, of a file, of which no second copy is held beside the tensors."""
    with opened(path) as file:
        header = _header(file, os.fstat(file.fileno()).st_size)
        # What is open, by a name that the library takes: of its own it may have none in UTF-8.
        name = f"/dev/fd/{file.fileno()}"
        return _checked(kind, header, lambda: _copies(name if os.path.exists(name) else path))


def opened(path: Path) -> io.BufferedIOBase:
    """A regular file, to be read. Raises SealError if it is anything else, or unreadable."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | _NO_FOLLOW)
    except OSError as error:
        raise SealError(f"cannot be read ({error.strerror}); should be a regular file") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SealError("not a regular file")
    return os.fdopen(descriptor, "rb")


def _checked(
    kind: str, header: bytes, load: Callable[[], dict[str, torch.Tensor]]
) -> tuple[Content, dict[str, torch.Tensor]]:
    """What the header says, and what `load` returns; the digest is that of both."""
    start = _digest_start(kind, header)
    try:
        table = json.loads(header[8:], object_pairs_hook=_no_duplicates)
        text = table.pop("__metadata__")["impcore"].split(" ", 2)[2]
        content = json.loads(text, object_pairs_hook=_no_duplicates)
        tensors = load()
        order = sorted(table, key=lambda name: table[name]["data_offsets"])
        data = [tensors[name] for name in order]
    except _MALFORMED as error:
        raise SealError(f"damaged, or not a sealed file of kind {kind!r}: {error}") from error
    if not isinstance(content, dict):
        raise SealError(f"not a sealed file of kind {kind!r}: its content is not a JSON object")
    sha256 = hashlib.sha256(header[:start] + _BLANK + header[start + 64 :])
    for piece in _bytes(data, copied=False):
        sha256.update(piece)
    written = header[start : start + 64]
    if sha256.hexdigest().encode() != written:
        shown = written[:12].decode("ascii", "backslashreplace")
        raise SealError(f"damaged: its SHA-256 is not the {shown!r}... it was sealed with")
    return content, tensors


def _copies(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, which the library maps: what it gives changes with it."""
    with safe_open(path, framework="pt", device="cpu") as file:
        return {name: _copy(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    """Its bytes as they are; a clone of bools would make 1 of a damaged one, and hide that."""
    if tensor.dtype == torch.bool:
        return tensor.view(torch.uint8).clone().view(torch.bool)
    return tensor.clone()


def _header(file: io.BufferedIOBase, size: int) -> bytes:
    """The header of a file of `size` bytes, with the 8 bytes before it."""
    begin = file.read(8)
    if len(begin) < 8:
        raise SealError(f"truncated: {len(begin)} bytes are less than a header")
    length = int.from_bytes(begin, "little")
    if length > min(size - 8, _HEADER_LIMIT):
        raise SealError(f"its header claims {length} bytes; the file has {size}")
    return begin + file.read(length)


def _digest_start(kind: str, header: bytes) -> int:
    prefix = f'"impcore":"{kind} sha256:'.encode()
    start = header.find(prefix, 8) + len(prefix)
    if start < len(prefix) or start + 64 > len(header):
        raise SealError(f"not a sealed file of kind {kind!r}")
    return start


def _no_duplicates(pairs: list[tuple[str, Any]]) -> Content:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a JSON key occurs twice")
    return content
