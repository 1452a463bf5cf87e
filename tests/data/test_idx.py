import gzip

import numpy as np
import pytest
from idx_bytes import idx_bytes

from impcore.data.idx import read_idx
from impcore.errors import DataError

IMAGES = np.arange(3 * 4 * 5).reshape(3, 4, 5)


def write(tmp_path, content):
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    return path


def test_arrays_of_any_shape(tmp_path):
    for array in (IMAGES, IMAGES[:, 0], IMAGES[:, 0, 0]):
        path = write(tmp_path, gzip.compress(idx_bytes(array)))
        found = read_idx(path, array.shape[1:])
        assert found.dtype == np.uint8
        assert np.array_equal(found, array)


GOOD = idx_bytes(IMAGES)
FAULTS = [
    (GOOD[:-1], "ends at byte 75 of the content, should have 76"),
    (GOOD[:9], "ends at byte 9 of the content, should have 16"),
    (GOOD[:2], "ends at byte 2 of the content, should have 4"),
    (b"", "ends at byte 0"),
    (GOOD + b"x", r"goes on at byte 76, where \[3, 4, 5\] should end"),
    (b"\0\0\x0d\3" + GOOD[4:], "starts with 0x00000d03 at byte 0, not with 0x00000803"),
    (GOOD[::-1], "starts with 0x"),
    (idx_bytes(IMAGES[:, :3]), r"holds \[3, 3, 5\] at byte 4, not \[N, 4, 5\]"),
    (idx_bytes(IMAGES[:0]), r"holds \[0, 4, 5\] at byte 4, not \[N, 4, 5\], N at least 1"),
    (GOOD[:4] + b"\xff\xff\xff\xff" + GOOD[8:], r"holds \[4294967295, 4, 5\] at byte 4"),
]


@pytest.mark.parametrize(("content", "message"), FAULTS)
def test_malformed_content_is_named_with_its_byte(tmp_path, content, message):
    path = write(tmp_path, gzip.compress(content))
    with pytest.raises(DataError, match=message) as info:
        read_idx(path, (4, 5))
    assert str(path) in str(info.value)


def test_damaged_compression_is_named(tmp_path):
    packed = bytearray(gzip.compress(GOOD))
    for kept in (0, 5, len(packed) // 2, len(packed) - 3):
        path = write(tmp_path, bytes(packed[:kept]))
        with pytest.raises(DataError, match=r"a\.gz: (not readable as gzip at byte \d+|ends at)"):
            read_idx(path, (4, 5))
    packed[-6] ^= 1  # the checksum
    with pytest.raises(DataError, match=r"not readable as gzip at byte .*CRC"):
        read_idx(write(tmp_path, bytes(packed)), (4, 5))
    with pytest.raises(DataError, match="not readable as gzip"):
        read_idx(write(tmp_path, GOOD), (4, 5))
