import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from impcore.data import resample
from impcore.data.resample import resize_windows, taps_of

BILINEAR = Image.Resampling.BILINEAR


def pillow(window, size, mirrored):
    """Width first, then height, in two calls: Pillow chooses the order of the two by itself."""
    image = Image.fromarray(window).resize((size, window.shape[0]), BILINEAR)
    found = np.asarray(image.resize((size, size), BILINEAR))
    return found[:, ::-1] if mirrored else found


@given(st.data())
def test_every_window_is_pillows_to_the_bit(data):
    size = data.draw(st.integers(1, 20))
    side = st.integers(1, 45)
    sizes = data.draw(st.lists(st.tuples(side, side), min_size=1, max_size=6))
    mirrored = data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    tall, wide = (max(n) + data.draw(st.integers(0, 3)) for n in zip(*sizes, strict=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    kind = data.draw(st.sampled_from(["noise", "extremes"]))
    pixels = rng.integers(0, 256, (len(sizes), tall, wide, 3), dtype=np.uint8)
    if kind == "extremes":
        pixels = np.where(pixels < 128, 0, 255).astype(np.uint8)
    found = resize_windows(
        torch.from_numpy(pixels),
        torch.tensor(sizes),
        size,
        (taps_of(tall, size), taps_of(wide, size)),
        torch.tensor(mirrored),
    )
    assert found.dtype == torch.uint8
    for i, (height, width) in enumerate(sizes):
        window = np.ascontiguousarray(pixels[i, :height, :width])
        assert np.array_equal(found[i].numpy(), pillow(window, size, mirrored[i])), sizes[i]


def test_many_images_are_resized_as_few_are(monkeypatch):
    sizes = torch.randint(1, 9, (20, 2))
    pixels = torch.randint(0, 256, (20, 9, 9, 3), dtype=torch.uint8)
    taps, mirrored = (taps_of(9, 4), taps_of(9, 4)), torch.arange(20) % 3 == 0
    whole = resize_windows(pixels, sizes, 4, taps, mirrored)
    monkeypatch.setattr(resample, "_AT_ONCE", 7)
    assert torch.equal(resize_windows(pixels, sizes, 4, taps, mirrored), whole)


def test_what_lies_around_a_window_does_not_matter():
    sizes, mirrored = torch.tensor([[5, 4]]), torch.tensor([False])
    pixels = torch.randint(0, 256, (1, 9, 9, 3), dtype=torch.uint8)
    other = pixels.clone()
    other[:, 5:], other[:, :, 4:] = 255 - other[:, 5:], 255 - other[:, :, 4:]
    taps = (taps_of(9, 3), taps_of(9, 3))
    first, second = (resize_windows(p, sizes, 3, taps, mirrored) for p in (pixels, other))
    assert torch.equal(first, second)
