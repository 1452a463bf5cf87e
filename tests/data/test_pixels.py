import logging

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impcore.data import pixels as pixels_module
from impcore.data.pixels import HeldPixels, normalisation

IMAGES = torch.randint(
    0, 256, (9, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
TABLE = normalisation((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 255, torch.float32)


def hold(padding=2, held="normalised", channels_last=False, images=IMAGES, table=TABLE):
    device = torch.device("cpu")
    return HeldPixels(
        images, table, padding=padding, device=device, channels_last=channels_last, held=held
    )


def test_the_table_is_the_published_formula():
    table = normalisation((0.4914, 0.4822), (0.2023, 0.1994), 255, torch.float32)
    for channel, (mean, std) in enumerate([(0.4914, 0.2023), (0.4822, 0.1994)]):
        expected = [np.float32((value / 255 - mean) / std) for value in range(256)]
        assert table[channel].tolist() == expected
    assert normalisation((0.5,), (1.0,), 16, torch.float64)[0, 16] == 0.5


@pytest.mark.parametrize("held", ["normalised", "raw"])
@pytest.mark.parametrize("channels_last", [False, True])
@given(data=st.data())
def test_gather_cuts_the_window_that_a_loop_would(held, channels_last, data):
    padding = data.draw(st.integers(0, 3))
    size = data.draw(st.integers(1, 4))

    def indices(high, width):
        row = st.lists(st.integers(0, high - 1), min_size=width, max_size=width)
        return torch.tensor(data.draw(st.lists(row, min_size=size, max_size=size)))

    order = indices(len(IMAGES), 1).flatten()
    rows, columns = indices(4 + 2 * padding, 4), indices(5 + 2 * padding, 5)
    got = hold(padding, held, channels_last).gather(order, rows, columns)
    for b in range(size):
        for c in range(3):
            for i in range(4):
                for j in range(5):
                    y, x = int(rows[b, i]) - padding, int(columns[b, j]) - padding
                    inside = 0 <= y < 4 and 0 <= x < 5
                    value = int(IMAGES[order[b], c, y, x]) if inside else 0
                    assert got[b, c, i, j] == TABLE[c, value]


@pytest.mark.parametrize("held", ["normalised", "raw"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("padding", [0, 2])
def test_take_and_between_leave_the_padding_out(held, channels_last, padding):
    expected = torch.stack([TABLE[c][IMAGES[:, c].long()] for c in range(3)], dim=1)
    held_pixels = hold(padding, held, channels_last)
    order = torch.tensor([3, 3, 0])
    assert torch.equal(held_pixels.take(order), expected[order])
    assert torch.equal(held_pixels.between(2, 7), expected[2:7])
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for got in (held_pixels.take(order), held_pixels.between(2, 7)):
        assert got.is_contiguous(memory_format=layout)


def test_more_images_than_are_prepared_at_once(monkeypatch):
    whole = hold().between(0, 9)
    monkeypatch.setattr(pixels_module, "_PREPARED_AT_ONCE", 4)
    assert torch.equal(hold().between(0, 9), whole)


@pytest.mark.parametrize(("padding", "dtype", "size"), [(0, torch.float32, 4), (2, torch.half, 2)])
def test_auto_holds_normalised_up_to_half_of_the_free_memory(
    monkeypatch, caplog, padding, dtype, size
):
    needed = 9 * 3 * (4 + 2 * padding) * (5 + 2 * padding) * size
    table = TABLE.to(dtype)
    for free, held in [(2 * needed, "normalised"), (2 * needed - 1, "raw"), (None, "raw")]:
        caplog.clear()
        monkeypatch.setattr(pixels_module, "_free_bytes", lambda _, free=free: free)
        with caplog.at_level(logging.WARNING, logger="impcore"):
            assert hold(padding, "auto", table=table).held == held
        said = [r.getMessage() for r in caplog.records]
        assert len(said) == (held == "raw")
        assert all(str(needed) in message and "raw" in message for message in said)
