"""The folder for the hub: whole, or refused."""

from __future__ import annotations

import os
import shutil
import tomllib
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import impcore
from impcore import Ticket
from impcore.config import Config
from impcore.errors import RunDirectoryError, TicketError

FILES = ["README.md", "config.toml", "mask.safetensors", "rewind.safetensors"]


def example(count: int = 11, **provenance: object) -> Ticket:
    torch.manual_seed(count)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(5, 2))
    point = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    masks = impcore.prune_global(model, count=count)
    notes = {"round": 2, "remaining": masks.remaining, "weights": None, **provenance}
    return Ticket(masks.state_dict(), point, notes)


def test_it_gives_the_ticket_back_and_the_same_bytes_again(tmp_path: Path) -> None:
    ticket = example(versions={"impcore": "1", "torch": "2"})
    ticket.save_folder(tmp_path / "a")
    assert sorted(os.listdir(tmp_path / "a")) == FILES
    loaded = impcore.Ticket.load(tmp_path / "a")
    assert loaded.provenance == ticket.provenance
    for mine, theirs in ((ticket.masks, loaded.masks), (ticket.rewind, loaded.rewind)):
        assert set(mine) == set(theirs)
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    loaded.save_folder(str(tmp_path / "b"))
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    config = tomllib.loads((tmp_path / "a" / "config.toml").read_text())
    assert config["ticket"] == {k: v for k, v in ticket.provenance.items() if v is not None}


def test_nulls_anywhere_in_the_provenance_are_left_out_of_the_toml_alone(tmp_path: Path) -> None:
    ticket = example(seeds=[1, None, {"a": None, "b": [None]}])
    ticket.save_folder(tmp_path / "a")
    assert Ticket.load(tmp_path / "a").provenance == ticket.provenance
    config = tomllib.loads((tmp_path / "a" / "config.toml").read_text())
    assert config["ticket"]["seeds"] == [1, {"b": []}]


def test_a_dtype_that_no_file_has_is_refused_before_the_folder_is_made(tmp_path: Path) -> None:
    ticket = Ticket({}, {"phase": torch.zeros(2, dtype=torch.complex64)}, {})
    with pytest.raises(TypeError, match=r"phase: safetensors has no torch\.complex64"):
        ticket.save_folder(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_folder_takes_no_second_copy_of_the_weights(tmp_path: Path) -> None:
    weight = torch.ones(2**20)
    tracemalloc.start()  # which sees bytes, but not what tensors hold
    Ticket({}, {"w": weight}, {}).save_folder(tmp_path / "a")
    Ticket.load(tmp_path / "a")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < weight.nbytes / 4


def test_a_place_that_cannot_be_made_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunDirectoryError, match=r"ticket: could not be made \(Not a directory"):
        example().save_folder(tmp_path / "file" / "ticket")


def test_the_card_says_what_it_is_and_how_to_read_it_without_impcore(tmp_path: Path) -> None:
    ticket = example(data="dig|its\nand more")
    ticket.save_folder(tmp_path / "a")
    card = (tmp_path / "a" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: impcore\n")
    assert "26 of 37 weights (70.27%)" in card
    assert "| data | dig\\|its and more |" in card
    weights = load_file(tmp_path / "a" / "rewind.safetensors")
    packed = load_file(tmp_path / "a" / "mask.safetensors")
    assert set(weights) == set(ticket.rewind)
    alive = 0
    for name, bits in packed.items():
        count = weights[name].numel()
        alive += int(np.unpackbits(bits.numpy(), count=count, bitorder="little").sum())
    assert alive == 26


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


FAULTS: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "flipped": flip,
    "cut": cut,
    "link": link,
    "empty": lambda path: path.write_bytes(b""),
    "pickle": lambda path: torch.save({"w": torch.zeros(3)}, path),
}


@pytest.mark.parametrize("name", FILES[1:])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_damage_is_refused_by_file(tmp_path: Path, name: str, fault: str) -> None:
    folder = tmp_path / "a"
    example().save_folder(folder)
    FAULTS[fault](folder / name)
    with pytest.raises(TicketError, match=rf"a: not a whole ticket: .*{name}"):
        Ticket.load(folder)


@pytest.mark.parametrize("name", FILES[1:3])
def test_files_of_another_ticket_are_refused(tmp_path: Path, name: str) -> None:
    example().save_folder(tmp_path / "a")
    example(count=12).save_folder(tmp_path / "b")
    shutil.copy(tmp_path / "b" / name, tmp_path / "a" / name)
    with pytest.raises(TicketError, match="not the one that mask"):
        Ticket.load(tmp_path / "a")
    shutil.copytree(tmp_path / "b", tmp_path / "a", dirs_exist_ok=True)
    assert Ticket.load(tmp_path / "a").remaining == 25


def test_the_card_and_other_files_are_the_readers(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    example().save_folder(folder)
    (folder / "README.md").write_text("mine")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs")
    assert Ticket.load(folder).remaining == 26
    with pytest.raises(TicketError, match="is a file; should be a folder"):
        example().save_folder(folder / "README.md")


def test_a_runs_ticket_carries_its_recipe(tmp_path: Path) -> None:
    tables = {
        "run": {"name": "x", "out": str(tmp_path), "seed": 3},
        "model": {"arch": "resnet14", "path": str(tmp_path / "weights.safetensors")},
        "data": {"name": "digits", "root": str(tmp_path)},
        "train": {"length": "5it", "checkpoint_every": "2it"},
        "prune": {"rounds": 2, "score": "grasp", "min_keep": 0},
        "rewind": {"to": "pretrained"},
        "analysis": {},
    }
    config = Config.from_dict(tables)
    example(recipe=config.portable()).save_folder(tmp_path / "a")
    text = (tmp_path / "a" / "config.toml").read_text()
    assert str(tmp_path) not in text
    assert 'path = "weights.safetensors"' in text
    assert Config.from_dict(tomllib.loads(text)).fingerprint() == config.fingerprint()
    assert "recipe" not in (tmp_path / "a" / "README.md").read_text()
