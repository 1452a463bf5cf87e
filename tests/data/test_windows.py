import math

import pytest
import torch

from impcore.data.windows import central_windows, random_windows


def draw(heights, widths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return random_windows(torch.tensor(heights), torch.tensor(widths), generator)


def test_windows_are_inside_and_of_the_published_distribution():
    count, height, width = 20_000, 300, 400
    top, left, h, w = draw([height] * count, [width] * count).T
    assert bool(((top >= 0) & (left >= 0) & (top + h <= height) & (left + w <= width)).all())
    assert bool(((h > 0) & (w > 0)).all())
    area, ratio = (h * w).double() / (height * width), w.double() / h
    slack = 0.02  # of rounding to pixels
    assert 0.08 - slack < area.min() < 0.1
    assert area.max() <= 1
    assert 0.75 - slack < ratio.min() < 0.76
    assert 1.32 < ratio.max() < 4 / 3 + slack
    # Small windows always fit, so among them area, log-ratio and place are uniform.
    small = area < 0.3
    spread = 4 / math.sqrt(int(small.sum()))
    uniform = ((area[small] - 0.08) / 0.22, (ratio[small].log() / math.log(4 / 3) + 1) / 2)
    place = (top[small] / (height - h[small]), left[small] / (width - w[small]))
    for values in (*uniform, *place):
        assert abs(values.double().mean() - 0.5) < spread * 0.3 + 0.005
        assert abs(values.double().std() - 1 / math.sqrt(12)) < spread


@pytest.mark.parametrize(
    ("height", "width", "window"),
    [
        (1, 100, (0, 49, 1, 1)),  # 4/3 of a pixel's height is 1 pixel
        (100, 1, (49, 0, 1, 1)),
        (10, 1000, (0, 493, 10, 13)),
        (1000, 9, (494, 0, 12, 9)),
    ],
)
def test_what_no_window_fits_gives_its_middle(height, width, window):
    # Their ratio is far beyond 4/3, so that no try of any seed can fit.
    assert all(tuple(draw([height], [width], seed)[0].tolist()) == window for seed in range(5))


def one_by_one(height, width, tries):
    """A window from the ten draws of an image, in Python's numbers."""
    for part, shape, down, right in tries:
        area = height * width * (0.08 + 0.92 * part)
        ratio = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * shape)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return [int(down * (height - h + 1)), int(right * (width - w + 1)), h, w]
    h = round(width / (3 / 4)) if width / height < 3 / 4 else height
    w = round(height * (4 / 3)) if width / height > 4 / 3 else width
    return [(height - h) // 2, (width - w) // 2, h, w]


@pytest.mark.parametrize("largest", [3, 12, 200])
def test_windows_are_those_of_one_image_after_another(largest):
    sizes = torch.Generator().manual_seed(largest)
    heights, widths = torch.randint(1, largest + 1, (2, 1000), generator=sizes).tolist()
    generator = torch.Generator().manual_seed(5)
    tries = [torch.rand((4, 1000), dtype=torch.float64, generator=generator) for _ in range(10)]
    each = torch.stack(tries).permute(2, 0, 1).tolist()  # image, try, draw
    wanted = [one_by_one(*image) for image in zip(heights, widths, each, strict=True)]
    assert draw(heights, widths, seed=5).tolist() == wanted


def test_an_image_gets_the_same_window_whatever_the_sizes_of_others():
    one = draw([50, 60, 70], [80, 70, 60])
    other = draw([50, 9, 70], [80, 1000, 60])
    assert torch.equal(one[[0, 2]], other[[0, 2]])
    assert not torch.equal(one, draw([50, 60, 70], [80, 70, 60], seed=1))


def test_the_middle_is_placed_as_torchvision_does():
    # int(round((side - size) / 2)), with Python's rounding to even.
    sides = torch.arange(7, 16)
    windows = central_windows(sides, sides.flip(0), 7)
    assert windows[:, 0].tolist() == [round((side - 7) / 2) for side in range(7, 16)]
    assert windows[:, 1].tolist() == [round((side - 7) / 2) for side in range(15, 6, -1)]
    assert windows[:, 2:].unique().tolist() == [7]
