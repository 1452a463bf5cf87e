"""Small folders of images, a folder a class, in the formats that such folders hold."""

import numpy as np
from PIL import Image

SIZES = [(12, 9), (9, 12), (8, 8), (30, 10), (7, 7), (16, 23)]


def picture(seed, size, mode="RGB"):
    """A Pillow image of (width, height): smooth colours and a little noise."""
    rng = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[:height, :width]
    base = np.stack([x * 255 // width, y * 255 // height, (x + y) * 9 % 256], axis=2)
    pixels = np.clip(base + rng.integers(-20, 20, base.shape), 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def write_folders(root, train=6, val=2, classes=("n01", "n02", "n03")):
    """Write train/ and val/ with so many images a class; return each part's images in order.

    The first image of a class is a PNG, the second a grey JPEG, the third a CMYK one.
    """
    parts = {}
    for part, count in (("train", train), ("val", val)):
        parts[part] = []
        for label, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                mode = {1: "L", 2: "CMYK"}.get(i, "RGB")
                image = picture(100 * label + i, SIZES[(label + i) % len(SIZES)], mode)
                path = folder / (f"{i}.png" if i == 0 else f"{i}.JPEG")
                image.save(path, quality=95)
                parts[part].append((path, label))
    return parts
