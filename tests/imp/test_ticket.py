from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import impcore
from impcore import Ticket
from impcore.errors import RunDirectoryError, TicketError
from impcore.imp import sealed


def network(width: int = 5) -> nn.Module:
    torch.manual_seed(width)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(width, 2))


def example(seed: int = 0, count: int = 11) -> tuple[Ticket, nn.Module, impcore.Masks]:
    """A ticket, and the model and masks that it was made of."""
    model = network()
    model[1].running_mean.uniform_(generator=torch.Generator().manual_seed(seed))
    point = copy.deepcopy(model.state_dict())
    masks = impcore.prune_global(model, count=count)
    provenance = {"round": 1, "remaining": masks.remaining, "total": masks.total}
    return Ticket(masks.state_dict(), point, provenance), model, masks


@given(st.integers(0, 37))
def test_applied_it_gives_the_rewind_state_under_the_mask(count: int) -> None:
    ticket, _, masks = example(count=count)
    assert (ticket.remaining, ticket.total) == (37 - count, 37)
    fresh = network().train(False)
    with torch.no_grad():
        for tensor in fresh.state_dict().values():
            tensor.fill_(9)
    applied = ticket.apply(fresh)
    assert impcore.masks_of(fresh) is applied
    assert applied.hash == masks.hash
    for name, tensor in fresh.state_dict().items():
        wanted = ticket.rewind[name]
        if name in masks:
            wanted = torch.where(masks[name], wanted, 0)
        assert torch.equal(tensor, wanted)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    ticket, _, _ = example()
    ticket.save(tmp_path / "a")
    loaded = Ticket.load(tmp_path / "a")
    assert loaded.provenance == ticket.provenance
    for mine, theirs in ((ticket.masks, loaded.masks), (ticket.rewind, loaded.rewind)):
        assert set(mine) == set(theirs)
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_could_not_be_read_back_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket, _, _ = example()
    long = Ticket(ticket.masks, ticket.rewind, {"notes": "x" * 3000})
    ticket.save(tmp_path / "file")
    ticket.save_folder(tmp_path / "folder")
    monkeypatch.setattr(sealed, "_HEADER_LIMIT", 3000)
    with pytest.raises(RunDirectoryError, match=r"file: could .* \(its header .* is unchanged"):
        long.save(tmp_path / "file")
    with pytest.raises(TicketError, match=r"folder: could not be written \(its header would have"):
        long.save_folder(tmp_path / "folder")
    for kept in ("file", "folder"):
        assert Ticket.load(tmp_path / kept).provenance == ticket.provenance


def test_the_file_does_not_depend_on_the_memory_format(tmp_path: Path) -> None:
    ticket, model, _ = example()
    ticket.save(tmp_path / "a")
    model.to(memory_format=torch.channels_last)
    masks = impcore.masks_of(model)
    assert masks is not None
    rewind = {
        name: tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        for name, tensor in ticket.rewind.items()
    }
    Ticket(masks.state_dict(), rewind, ticket.provenance).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_damage_is_refused_and_control_the_whole_is_not(tmp_path: Path) -> None:
    path = tmp_path / "ticket.safetensors"
    example()[0].save(path)
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(0, len(whole), 17)]
    for position in range(0, len(whole), 5):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        damaged.append(bytes(flipped))
    damaged.append((2**61).to_bytes(8, "little") + whole[8:])
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(TicketError, match="not a whole ticket"):
            Ticket.load(path)
    path.write_bytes(whole)
    Ticket.load(path)


def test_links_pipes_and_pickles_are_refused(tmp_path: Path) -> None:
    example()[0].save(tmp_path / "whole")
    (tmp_path / "link").symlink_to("whole")
    os.mkfifo(tmp_path / "pipe")
    torch.save({"w": torch.zeros(3)}, tmp_path / "pickle")
    for name in ("link", "pipe", "pickle", "missing", "."):
        with pytest.raises(TicketError, match="not a whole ticket"):
            Ticket.load(tmp_path / name)


def _drop_weights(masks: dict[str, Tensor], rewind: dict[str, Tensor], notes: dict) -> None:
    del rewind["3.weight"]


def _shorten(masks: dict[str, Tensor], rewind: dict[str, Tensor], notes: dict) -> None:
    masks["3.weight"] = masks["3.weight"][:-1]


def _widen(masks: dict[str, Tensor], rewind: dict[str, Tensor], notes: dict) -> None:
    masks["3.weight"] = masks["3.weight"].int()


def _pad(masks: dict[str, Tensor], rewind: dict[str, Tensor], notes: dict) -> None:
    masks["3.weight"][-1] |= 128


def _flip(masks: dict[str, Tensor], rewind: dict[str, Tensor], notes: dict) -> None:
    masks["3.weight"][0] ^= 1


def _count(masks: dict[str, Tensor], rewind: dict[str, Tensor], notes: dict) -> None:
    notes["total"] += 1


FAULTS = [
    (_drop_weights, r"3\.weight: has a mask but no rewind weights"),
    (_shorten, r"3\.weight: its mask is torch\.uint8 \(1,\); 10 weights need"),
    (_widen, r"3\.weight: its mask is torch\.int32"),
    (_pad, r"3\.weight: its mask has bits set beyond its 10 weights"),
    (_flip, "remaining: the provenance says 26, the masks hold 2[57]"),
    (_count, "total: the provenance says 38, the masks hold 37"),
]


@pytest.mark.parametrize(
    ("provenance", "message"),
    [
        ({"when": object()}, "when: provenance must be JSON values: .*object"),
        ({"loss": [float("nan")]}, "loss: provenance must be JSON values"),
        ({3: "x"}, "3: provenance must have strings as keys"),
        ({"accuracy": [{0: 0.9}]}, "accuracy: provenance must have strings as keys, at every"),
    ],
)
def test_what_no_file_could_hold_is_refused_before_there_is_one(provenance, message) -> None:
    ticket, _, _ = example()
    with pytest.raises(TicketError, match=message):
        Ticket(ticket.masks, ticket.rewind, provenance)


@pytest.mark.parametrize(("fault", "named"), FAULTS)
def test_a_wrong_meaning_is_refused_though_the_checksum_is_right(
    tmp_path: Path, fault, named: str
) -> None:
    ticket, _, _ = example()
    masks = {name: tensor.clone() for name, tensor in ticket.masks.items()}
    rewind, notes = dict(ticket.rewind), dict(ticket.provenance)
    fault(masks, rewind, notes)
    with pytest.raises(TicketError, match=named):
        Ticket(masks, rewind, notes)
    tensors = {f"mask/{name}": tensor for name, tensor in masks.items()}
    tensors |= {f"rewind/{name}": tensor for name, tensor in rewind.items()}
    path = tmp_path / "ticket"
    path.write_bytes(b"".join(sealed.pack("impcore-ticket-1", {"provenance": notes}, tensors)))
    with pytest.raises(TicketError, match=named):
        Ticket.load(path)


def test_stray_tensors_and_missing_provenance_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ticket"
    for content, tensors in (
        ({"provenance": {}}, {"../../etc/passwd": torch.zeros(1)}),
        ({"provenance": []}, {}),
        ({}, {}),
    ):
        path.write_bytes(b"".join(sealed.pack("impcore-ticket-1", content, tensors)))
        with pytest.raises(TicketError, match=r"neither masks|no provenance"):
            Ticket.load(path)


def _frozen() -> nn.Module:
    model = network()
    model[3].weight.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (network(6), r"3\.weight: the ticket has torch\.float32 \(2, 5\), the model .* \(2, 6\)"),
        (network().half(), "the model torch.float16"),
        (nn.Sequential(nn.Linear(5, 2)), r"0\.running_mean|the model lacks it"),
        (nn.Sequential(*network(), nn.Linear(2, 2)), r"4\.bias: the ticket lacks it"),
        (_frozen(), r"3\.weight: not a prunable parameter"),
    ],
)
@pytest.mark.filterwarnings("ignore:frozen parameters")
def test_a_model_that_does_not_fit_is_refused_unchanged(model: nn.Module, named: str) -> None:
    before = copy.deepcopy(model.state_dict())
    older = impcore.prune_global(model, count=1)
    after = copy.deepcopy(model.state_dict())
    with pytest.raises(TicketError, match=named):
        example()[0].apply(model)
    assert impcore.masks_of(model) is older
    assert set(before) == set(model.state_dict())
    assert all(torch.equal(after[name], value) for name, value in model.state_dict().items())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight


@pytest.mark.parametrize(
    ("part", "given", "kind"),
    [
        ("masks", [], "list"),
        ("rewind", nn.Linear(2, 2), "Linear"),
        ("provenance", None, "NoneType"),
    ],
)
def test_a_part_that_is_no_mapping_is_refused_by_its_name(part, given, kind) -> None:
    with pytest.raises(TicketError, match=f"{part} must be a mapping, not {kind}"):
        Ticket(**({"masks": {}, "rewind": {}, "provenance": {}} | {part: given}))


class Wrapped(Tensor):
    """Stands for DTensor, whose own values are not the whole tensor."""


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda t: t.as_subclass(Wrapped), "Wrapped of layout torch.strided on cpu"),
        (lambda t: t.to_sparse(), "Tensor of layout torch.sparse_coo on cpu"),
        (lambda t: t.to("meta"), "Tensor of layout torch.strided on meta"),
    ],
)
def test_a_tensor_that_no_file_could_hold_is_refused_by_its_name(change, kind: str) -> None:
    ticket, *_ = example()
    rewind = {**ticket.rewind, "3.weight": change(ticket.rewind["3.weight"])}
    with pytest.raises(
        TicketError, match=rf"^3\.weight: .* dense tensors with data, not a {kind}$"
    ):
        Ticket(ticket.masks, rewind, {})


def test_what_is_trained_along_is_no_rewind_state() -> None:
    ticket, model, masks = example()
    own = Ticket(ticket.masks, model.state_dict(), {})
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(TicketError, match=r"0\.weight: the ticket holds the model's own.*deepcopy"):
        own.apply(model)
    assert impcore.masks_of(model) is masks
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in before)
    own.apply(network())


def test_tied_weights_have_one_mask(tmp_path: Path) -> None:
    model = Tied()
    point = copy.deepcopy(model.state_dict())
    masks = impcore.prune_global(model, count=7)
    Ticket(masks.state_dict(), point, {}).save(tmp_path / "ticket")
    fresh = Tied()
    applied = Ticket.load(tmp_path / "ticket").apply(fresh)
    assert applied.hash == masks.hash
    wanted = torch.where(masks["a.weight"], point["a.weight"], 0)
    assert torch.equal(fresh.a.weight, wanted)
    assert torch.equal(fresh.b.weight, wanted)
