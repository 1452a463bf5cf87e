"""Every score and scope in a run: recomputed from its tickets, and resumed to the bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from imp_harness import finish, micro, rows
from torch import Tensor, nn

import impcore
from impcore import Ticket, scores
from impcore.config import Config
from impcore.errors import ConfigError, LayerCollapseError
from impcore.imp import determinism, lab, run, training


def tickets(config: Config) -> list[Ticket]:
    return [Ticket.load(path) for path in sorted((Path(config.run.out) / "tickets").iterdir())]


def trained(ticket: Ticket, number: int, made: lab.Lab) -> scores.Movement:
    """Train a ticket as its round did, in the lab's model; returns the movement on the way."""
    made = replace(made, masks=ticket.apply(made.model))
    learner = made.learner()
    movement = scores.Movement(made.masks)
    movement.watch(learner.optimizer)
    start, end = made.span(number)
    for _ in training.steps(learner, made.train, made.rate_at, start=start, end=end):
        pass
    return movement


def loss(temperature: float) -> scores.gradients.Loss:
    def of(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]) / temperature, batch[1])

    return of


KINDS: list[dict[str, Any]] = [
    {"score": "movement"},
    {"score": "snip", "score_batches": 3, "scope": "random"},
    {"score": "grasp", "theta": "rewound"},
    {"score": "synflow", "scope": "layerwise"},
    {"score": "random", "scope": "layerwise", "schedule": "linear"},
]


@pytest.mark.parametrize("keys", KINDS, ids=lambda keys: "-".join(map(str, keys.values())))
def test_every_mask_can_be_recomputed_from_the_ticket_before(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    config = micro(
        tmp_path / "run", rewind__to="init", **{f"prune__{key}": v for key, v in keys.items()}
    )
    finish(config)
    saved, found = tickets(config), rows(tmp_path / "run")
    flow = np.load(tmp_path / "run" / "flow.npz")
    made = lab.build(config)
    with determinism.deterministic(1):
        for number, (ticket, after) in enumerate(pairwise(saved)):
            movement = trained(ticket, number, made)
            masks = impcore.masks_of(made.model)
            shares = impcore.Flow(
                masks, blocks=impcore.models.blocks_of(made.model, granularity="stage")
            )
            shares.record()
            if keys.get("theta") == "rewound":
                masks = ticket.apply(made.model)
            assert np.array_equal(shares.M[0], flow["M"][number])
            given: dict[str, Any] = {}
            if keys["score"] in ("snip", "grasp"):
                temperature = 200.0 if keys["score"] == "grasp" else 1.0
                batches = list(islice(made.train.epoch(2**31), keys.get("score_batches", 1)))
                given = {"data": batches, "loss": loss(temperature)}
            elif keys["score"] == "synflow":
                given = {"data": (1, 8, 8)}
            if "random" in (keys["score"], keys.get("scope")):
                given["seed"] = config.run.seed
            if keys.get("scope") == "layerwise":
                left = {name: int(mask.sum()) for name, mask in masks.items()}
                linear = keys.get("schedule") == "linear"
                base = {n: m.numel() for n, m in masks.items()} if linear else left
                wanted = {
                    name: round(base[name] * (1 - 0.3 * (number + 1)))
                    if linear
                    else left[name] - round(0.3 * left[name])
                    for name in left
                }
                count: Any = {name: left[name] - wanted[name] for name in left}
            else:
                count = round(0.3 * masks.remaining)
            score = movement if keys["score"] == "movement" else keys["score"]
            scope = keys.get("scope", "global")
            impcore.prune_global(made.model, count=count, scope=scope, score=score, **given)
            assert masks.hash == after.provenance["mask_hash"] == found[number + 1]["mask_hash"]
            assert masks.remaining == found[number + 1]["remaining"]
    assert {t.provenance["score"] for t in saved} == {keys["score"]}
    assert {t.provenance["scope"] for t in saved} == {keys.get("scope", "global")}


def test_a_collapse_stops_the_run_and_lowering_the_floor_goes_on(tmp_path: Path) -> None:
    config = micro(tmp_path / "run", prune__min_keep=100, prune__scope="layerwise")
    with pytest.raises(LayerCollapseError, match=r"prune 2: .*conv1\.weight \(71\).*min_keep 0"):
        run(config)
    lower = micro(tmp_path / "run", prune__min_keep=0, prune__scope="layerwise")
    without = micro(tmp_path / "other", prune__scope="layerwise")
    assert finish(lower)["rows"] == finish(without)["rows"]


def test_synflow_needs_a_tensor_of_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lab.build(micro(tmp_path / "run"))
    batch = next(iter(made.train.epoch(0)))
    prune = micro(tmp_path / "run", prune__score="synflow").prune

    class Words:
        def epoch(self, epoch: int, whole: bool) -> list[tuple[dict[str, Tensor], Tensor]]:
            return [({"input_ids": batch[1]}, batch[1])]

    with pytest.raises(ConfigError, match=r"prune\.score = \"synflow\""):
        lab.Pruner(prune, 0, made.model, made.masks, made.task, Words(), made.counts)


def test_scoring_data_is_no_training_data_of_any_epoch(tmp_path: Path) -> None:
    made = lab.build(micro(tmp_path / "run", prune__score="snip", prune__score_batches=100))
    given = made.pruner._given()
    assert len(given["data"]) == 100 > made.train.steps_per_epoch
    first = given["data"][0]
    again = made.pruner._given()["data"][0]
    assert torch.equal(first[0], again[0])


def test_a_score_with_dropout_does_not_depend_on_the_random_state(tmp_path: Path) -> None:
    def dropping(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(nn.functional.dropout(outputs), targets)

    hashes = set()
    for state in range(2):
        made = lab.build(micro(tmp_path / "run", prune__score="snip"))
        pruner = replace(made.pruner, task=replace(made.task, loss=dropping))
        torch.manual_seed(state)
        pruner(0, {}, None)
        hashes.add(made.masks.hash)
    assert len(hashes) == 1
