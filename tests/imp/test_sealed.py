from __future__ import annotations

import json
import math
import os
import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from impcore.imp import sealed

KIND = "test-1"


def example() -> bytes:
    tensors = {
        "w": torch.arange(6, dtype=torch.float32).reshape(2, 3),
        "half": torch.tensor([1.5, -0.0, float("inf")], dtype=torch.bfloat16),
        "bits": torch.tensor([1, 255], dtype=torch.uint8),
        "flags": torch.tensor([True, False, True]),
        "scalar": torch.tensor(7),
        "empty": torch.zeros(0, 4),
    }
    return b"".join(sealed.pack(KIND, {"a": [1, 0.1, None], "b": "x sha256:y"}, tensors))


def test_gives_back_what_was_packed() -> None:
    content, tensors = sealed.unpack(KIND, example())
    assert content == {"a": [1, 0.1, None], "b": "x sha256:y"}
    assert tensors["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors["half"].view(torch.int16).tolist() == [0x3FC0, -0x8000, 0x7F80]
    assert tensors["flags"].tolist() == [True, False, True]
    assert tensors["scalar"].shape == ()
    assert tensors["empty"].shape == (0, 4)


def test_any_layout_and_shared_memory_are_stored_contiguous() -> None:
    w = torch.randn(2, 3, 4, 5)
    laid = {"a": w, "b": w.to(memory_format=torch.channels_last), "c": w.transpose(0, 1), "d": w}
    _, tensors = sealed.unpack(KIND, b"".join(sealed.pack(KIND, {}, laid)))
    for name, tensor in laid.items():
        assert tensors[name].is_contiguous()
        assert torch.equal(tensors[name], tensor)


def test_the_same_content_gives_the_same_bytes() -> None:
    assert example() == example()


def test_small_tensors_are_gathered_without_changing_a_byte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    laid = {f"{i}": torch.randn(i, 3, 2, 2).to(DTYPES[i % 3]) for i in range(12)}
    laid["last"] = laid["11"].to(memory_format=torch.channels_last)
    files, counts = set(), []
    for small in (0, 150, 2**18):
        monkeypatch.setattr(sealed, "_SMALL", small)
        pieces = list(sealed.pack(KIND, {}, laid))
        counts.append(len(pieces))
        files.add(b"".join(pieces))
    assert len(files) == 1
    assert counts[0] == 1 + len(laid) > counts[1] > counts[2] == 1 + 3


@pytest.mark.parametrize("numel", [3, 2**17])  # gathered, and by itself
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_copy_does_not_follow_the_tensor(numel: int, layout: torch.memory_format) -> None:
    tensor = torch.zeros(1, 2, numel, 2).to(memory_format=layout)
    pieces = sealed.pack(KIND, {}, {"w": tensor}, copied=True)
    tensor.fill_(1)
    _, tensors = sealed.unpack(KIND, b"".join(pieces))
    assert not tensors["w"].any()


def test_content_that_is_not_json_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        list(sealed.pack(KIND, {"loss": math.nan}, {}))


def test_keys_stay_in_their_order() -> None:
    pieces = sealed.pack(KIND, {"rows": [{"f1": 0.5, "accuracy": 0.25}]}, {})
    content, _ = sealed.unpack(KIND, b"".join(pieces))
    assert list(content["rows"][0]) == ["f1", "accuracy"]


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool]
DTYPES += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=6).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3)),
        max_size=6,
    )
)
def test_the_safetensors_library_reads_it(
    shapes: dict[str, tuple[torch.dtype, list[int]]],
) -> None:
    tensors = {
        name: (torch.arange(math.prod(shape)).reshape(shape) * 37).to(dtype)
        for name, (dtype, shape) in shapes.items()
    }
    data = b"".join(sealed.pack(KIND, {}, tensors))
    read = load(data)
    assert set(read) == set(tensors)
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)
    assert int.from_bytes(data[:8], "little") % 8 == 0


def test_a_dtype_without_a_name_is_refused() -> None:
    with pytest.raises(TypeError, match=r"w: safetensors has no torch\.complex64"):
        sealed.pack(KIND, {}, {"w": torch.zeros(1, dtype=torch.complex64)})


@given(st.data())
@settings(max_examples=300)
def test_every_flipped_bit_is_refused(data: st.DataObject) -> None:
    damaged = bytearray(example())
    bit = data.draw(st.integers(0, 8 * len(damaged) - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(sealed.SealError):
        sealed.unpack(KIND, bytes(damaged))


def test_every_byte_is_covered(tmp_path: Path) -> None:
    path, whole = tmp_path / "a", example()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x20
        with pytest.raises(sealed.SealError):
            sealed.unpack(KIND, bytes(damaged))
        path.write_bytes(damaged)
        with pytest.raises(sealed.SealError):
            sealed.load(KIND, path)


def test_every_truncation_and_extension_is_refused() -> None:
    whole = example()
    for length in range(len(whole)):
        with pytest.raises(sealed.SealError):
            sealed.unpack(KIND, whole[:length])
    for extra in (b"\0", b" ", whole):
        with pytest.raises(sealed.SealError):
            sealed.unpack(KIND, whole + extra)


def test_control_safetensors_alone_takes_a_flipped_bit() -> None:
    damaged = bytearray(example())
    damaged[-1] ^= 1
    load(bytes(damaged))
    with pytest.raises(sealed.SealError, match=r"SHA-256 is not the '[0-9a-f]{12}'\.\.\. it was"):
        sealed.unpack(KIND, bytes(damaged))


def test_another_kind_and_a_plain_safetensors_file_are_refused() -> None:
    for data in (example().replace(b"test-1", b"test-2"), save({"w": torch.zeros(2)})):
        with pytest.raises(sealed.SealError, match="kind 'test-1'"):
            sealed.unpack(KIND, data)


def _sealed_by_hand(header: bytes, body: bytes) -> bytes:
    """A file with a right checksum and whatever header and body are given."""
    import hashlib

    data = len(header).to_bytes(8, "little") + header + body
    return data.replace(b"0" * 64, hashlib.sha256(data).hexdigest().encode())


def _header(tensors: str, content: str = "{}") -> bytes:
    value = json.dumps(f"{KIND} sha256:{'0' * 64} {content}")
    return f'{{"__metadata__":{{"impcore":{value}}}{tensors}}}'.encode()


A = ',"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
B = ',"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}'


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (_header(A + B), bytes(6)),
        (_header(A), bytes(9)),
        (_header(A), bytes(3)),
        (_header(A + A), bytes(4)),
        (_header(A.replace("[4]", "[5]")), bytes(4)),
        (_header(A.replace("[4]", "[99999999999999999999]")), bytes(4)),
        (_header(A.replace("[4]", "[-2,-2]")), bytes(4)),
        (_header(A.replace("[4]", "[4.0]")), bytes(4)),
        (_header(A.replace("[4]", '["4"]')), bytes(4)),
        (_header(A.replace("[4]", "4")), bytes(4)),
        (_header(A.replace("[4]", "[0,4611686018427387904,4]").replace("[0,4]", "[0,0]")), b""),
        (_header(A.replace("[0,4]", "[1,5]")), bytes(5)),
        (_header(A.replace("[0,4]", '"04"')), bytes(4)),
        (_header(A.replace("U8", "U9")), bytes(4)),
        (_header(',"a":{"dtype":"U8","shape":[4]}'), bytes(4)),
        (_header(',"a":null'), b""),
        (_header(A, "[" * 100_000), bytes(4)),
        (_header(A, "[1]"), bytes(4)),
        (_header(A, '{"a":1,"a":2}'), bytes(4)),
        (_header(A, ""), bytes(4)),
        (_header(A) + b"}", bytes(4)),
    ],
)
def test_a_wrong_structure_is_refused_though_its_checksum_is_right(
    header: bytes, body: bytes
) -> None:
    with pytest.raises(sealed.SealError):
        sealed.unpack(KIND, _sealed_by_hand(header, body))


def test_control_a_right_structure_sealed_by_hand_is_taken() -> None:
    _, tensors = sealed.unpack(KIND, _sealed_by_hand(_header(A), b"abcd"))
    assert tensors["a"].tolist() == list(b"abcd")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 10**9, 65 * 2**20])
def test_an_oversized_header_is_refused_without_reading_it(length: int) -> None:
    data = length.to_bytes(8, "little") + example()[8:]
    with pytest.raises(sealed.SealError, match=f"claims {length} bytes"):
        sealed.unpack(KIND, data)


def test_a_header_is_written_only_if_it_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = sealed.pack(KIND, {"note": "x" * 1000}, {})
    length = len(b"".join(pieces)) - 8
    monkeypatch.setattr(sealed, "_HEADER_LIMIT", length)
    assert sealed.unpack(KIND, b"".join(pieces))[0] == {"note": "x" * 1000}
    monkeypatch.setattr(sealed, "_HEADER_LIMIT", length - 1)
    with pytest.raises(OSError, match=f"would have {length:,} bytes; {length - 1:,} can be"):
        next(iter(pieces))


def test_a_file_is_read_straight_into_its_tensors(tmp_path: Path) -> None:
    path, weight = tmp_path / "a", torch.arange(2**20)
    path.write_bytes(b"".join(sealed.pack(KIND, {}, {"w": weight})))
    tracemalloc.start()  # which sees bytes, but not what tensors hold
    _, tensors = sealed.load(KIND, path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert torch.equal(tensors["w"], weight)
    assert peak < weight.nbytes / 8


@pytest.mark.parametrize("other", [{"w": torch.ones(3)}, {"w": torch.zeros(4)}, {}])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, torch.Tensor]
) -> None:
    path, copies = tmp_path / "a", sealed._copies
    path.write_bytes(b"".join(sealed.pack(KIND, {}, {"w": torch.zeros(3)})))

    def late(name: str | Path) -> dict[str, torch.Tensor]:
        path.write_bytes(b"".join(sealed.pack(KIND, {}, other)))
        return copies(name)

    monkeypatch.setattr(sealed, "_copies", late)
    with pytest.raises(sealed.SealError, match="damaged"):
        sealed.load(KIND, path)


@pytest.mark.parametrize("lacking", [False, True])
def test_a_file_is_read_whatever_the_bytes_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: bool
) -> None:
    """As file systems allow; without /dev/fd names must be of UTF-8."""
    folder = tmp_path / os.fsdecode(b"weights-" + "ω".encode() * lacking + b"\xff" * (not lacking))
    folder.mkdir()
    (folder / "a").write_bytes(example())
    if lacking:
        monkeypatch.setattr(os.path, "exists", lambda _: False)
    assert sealed.load(KIND, folder / "a")[0] == sealed.unpack(KIND, example())[0]


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    whole.write_bytes(example())
    with sealed.opened(whole) as file:
        assert file.read() == example()
    (tmp_path / "link").symlink_to(whole)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    for name in ("link", "fifo", "directory", "missing"):
        with pytest.raises(sealed.SealError, match="regular file"):
            sealed.opened(tmp_path / name)
