import json
import subprocess
import sys
import time

import numpy as np
import pytest
from folders import picture
from PIL import Image

from impcore.data.decode import decode, write_shard
from impcore.errors import DataError


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "P", "RGBA", "1"])
@pytest.mark.parametrize("size", [(9, 13), (13, 9), (8, 8), (3, 2), (64, 9)])
def test_images_of_any_mode_are_scaled_as_torchvision_does(tmp_path, mode, size):
    path = tmp_path / ("a.jpg" if mode in ("RGB", "L", "CMYK") else "a.png")
    picture(0, size, mode).save(path)
    width, height = size
    scaled = (8, int(8 * height / width)) if width <= height else (int(8 * width / height), 8)
    expected = Image.open(path).convert("RGB").resize(scaled, Image.Resampling.BILINEAR)
    found = decode(path, 8)
    assert min(found.shape[:2]) == 8
    assert np.array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_more_than_8_bits_a_channel_are_refused_instead_of_clipped(tmp_path, kind):
    path = tmp_path / "a.tiff"
    Image.fromarray(np.full((9, 9), 300, dtype=kind)).save(path)
    with pytest.raises(DataError, match=r"a\.tiff: has more than 8 bits a channel .*mode [IF]"):
        decode(path, 8)


def test_what_is_no_image_is_named_with_its_byte(tmp_path):
    path = tmp_path / "a.jpg"
    picture(0, (40, 40)).save(path)
    content = path.read_bytes()
    for kept in (0, 2, 100, len(content) // 2):
        path.write_bytes(content[:kept])
        with pytest.raises(DataError, match=r"a\.jpg: not readable as an image at byte \d+"):
            decode(path, 8)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=r"a\.jpg: not readable as an image .*cannot identify"):
        decode(path, 8)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    picture(0, (40, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"a\.png: .*DecompressionBomb"):
        decode(tmp_path / "a.png", 8)


def test_a_shard_is_its_images_one_after_the_other(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for i, path in enumerate(paths):
        picture(i, (9 + i, 12)).save(path)
    write_shard(tmp_path, [path.name for path in paths], 8, tmp_path / "shard")
    images = [decode(path, 8) for path in paths]
    flat = np.load(tmp_path / "shard.npy", mmap_mode="r")
    assert np.array_equal(flat, np.concatenate([image.reshape(-1) for image in images]))
    record = json.loads((tmp_path / "shard.json").read_text())
    assert record["sizes"] == [list(image.shape[:2]) for image in images]


def test_a_damaged_image_leaves_no_shard(tmp_path):
    paths = [tmp_path / "0.png", tmp_path / "1.png"]
    picture(0, (9, 9)).save(paths[0])
    paths[1].write_bytes(b"no")
    with pytest.raises(DataError, match=r"1\.png"):
        write_shard(tmp_path, [path.name for path in paths], 8, tmp_path / "shard")
    assert not list(tmp_path.glob("*shard*"))


def test_no_place_to_write_is_the_keys_fault(tmp_path):
    picture(0, (9, 9)).save(tmp_path / "0.png")
    with pytest.raises(DataError, match=r"data\.cache: .*nowhere"):
        write_shard(tmp_path, ["0.png"], 8, tmp_path / "nowhere" / "shard")


def test_a_worker_ends_with_its_parent():
    worker = "import os, time; from impcore.data.decode import start_worker; " + (
        "start_worker(int(os.environ['P'])); print('up', flush=True); time.sleep(60)"
    )
    parent = (
        "import os, subprocess, sys; "
        f"w = subprocess.Popen([sys.executable, '-c', {worker!r}], stdout=subprocess.PIPE, "
        "env=os.environ | {'P': str(os.getpid())}); w.stdout.readline(); print(w.pid, flush=True)"
    )
    out = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True)
    deadline = time.monotonic() + 20
    while _runs(int(out.stdout)):
        assert time.monotonic() < deadline, "the worker lives on"
        time.sleep(0.1)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_worker_loads_no_torch():
    code = "import sys, impcore.data.decode; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
