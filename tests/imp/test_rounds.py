"""What a run did, recomputed from what it left."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from imp_harness import finish, micro, rows
from safetensors.torch import load_file

import impcore
from impcore.config import Config
from impcore.errors import NonFiniteError
from impcore.imp import (
    determinism,
    lab,
    run,
    schedule,
    scoring,
    training,
)
from impcore.imp.evaluation import Score, evaluate
from impcore.imp.signals import Stop
from impcore.imp.tasks import TASKS
from impcore.imp.ticket import Ticket

MakeConfig = Callable[..., Config]
VARIANTS: list[dict[str, Any]] = [
    {},
    {"rewind__lr_schedule": "restart"},
    {"rewind__to": "init"},
    {"rewind__kind": "lr"},
    {"rewind__kind": "finetune", "rewind__length": "3it", "rewind__to": "init"},
    {"analysis__theta": "rewound", "analysis__granularity": "block"},
    {"analysis__theta": "rewound", "rewind__kind": "lr"},
    {"prune__schedule": "linear", "prune__rate": 0.3, "train__channels_last": True},
    {"prune__schedule": "explicit", "prune__densities": [0.5, 0.1], "train__amp": "bf16"},
    {"prune__exclude": ["conv1.*", "fc.*"], "data__augment": "crop", "train__nesterov": True},
    {"train__accumulate": 3, "train__clip_norm": 0.5, "train__label_smoothing": 0.1},
    {"train__optimizer": "adamw", "train__schedule": "linear", "train__milestones": None},
]


def tickets(config: Config, states: int = 3) -> list[Ticket]:
    paths = sorted((Path(config.run.out) / "tickets").iterdir())
    assert [path.name for path in paths] == [f"round_0{n}.safetensors" for n in range(states)]
    return [Ticket.load(path) for path in paths]


def train_ticket(ticket: Ticket, number: int, config: Config) -> lab.Lab:
    """Train a ticket in a fresh model as its round did."""
    made = lab.build(config)
    masks = ticket.apply(made.model)
    made = replace(made, masks=masks)
    assert masks.hash == ticket.provenance["mask_hash"]
    start, end = made.span(number)
    for _ in training.steps(
        made.learner(),
        made.train,
        made.rate_at,
        start=start,
        end=end,
        accumulate=config.train.accumulate,
    ):
        pass
    return made


def magnitudes(model: torch.nn.Module, ticket: Ticket, names: list[str]) -> np.ndarray:
    """M by its definition: block sums of |m theta| over the sum of all, in float64."""
    state = {name: tensor.double().abs() for name, tensor in model.state_dict().items()}
    sums = []
    for block in names:
        patterns = impcore.models.blocks_of(model, granularity=_granularity(names)).get(block)
        chosen = [n for n in ticket.masks if patterns and any(_fits(n, p) for p in patterns)]
        sums.append(sum(float(state[n].sum()) for n in chosen))
    total = sum(float(state[n].sum()) for n in ticket.masks)
    if "rest" in names:
        sums[names.index("rest")] = total - sum(sums)
    return np.array(sums) / total


def _granularity(names: list[str]) -> str:
    return "stage" if "stage1" in names else "block"


def _fits(name: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    return fnmatchcase(name, pattern)


@pytest.mark.parametrize("overrides", VARIANTS, ids=lambda o: "+".join(map(str, o.values())) or "-")
def test_every_round_can_be_recomputed_from_its_ticket(
    tmp_path: Path, overrides: dict[str, Any]
) -> None:
    config = micro(tmp_path / "run", **overrides)
    finish(config)
    found, saved = rows(tmp_path / "run"), tickets(config)
    flow = np.load(tmp_path / "run" / "flow.npz", allow_pickle=False)
    counts = schedule.remaining(
        found[0]["total"],
        config.prune.schedule,
        config.prune.rounds,
        config.prune.rate,
        config.prune.densities,
    )
    names = flow["names"].tolist()
    trained = config.analysis.theta == "trained"
    with determinism.deterministic(1):
        for number, (row, ticket) in enumerate(zip(found, saved, strict=True)):
            assert row["round"] == number
            assert row["remaining"] == ticket.remaining == flow["remaining"][number]
            assert row["remaining"] == counts[number]
            assert row["mask_hash"] == ticket.provenance["mask_hash"]
            made = train_ticket(ticket, number, config)
            if number > 0 or config.rewind.kind != "weights" or config.rewind.to == "init":
                score = evaluate(
                    made.model,
                    made.test,
                    made.task,
                    Stop(),
                    batch_size=config.train.eval_batch_size,
                    amp=config.train.amp,
                )
                assert (row["accuracy"], row["loss"]) == (score.accuracy, score.loss)
                if number < 2:
                    count = counts[number] - counts[number + 1]
                    assert (
                        impcore.prune_global(made.model, count=count).hash
                        == (found[number + 1]["mask_hash"])
                    )
            if trained and number == 2:
                expected = magnitudes(made.model, ticket, names)
                assert flow["M"][number] == pytest.approx(expected, rel=1e-12)
            if not trained:
                ticket.apply(made.model)
                expected = magnitudes(made.model, ticket, names)
                assert flow["M"][number] == pytest.approx(expected, rel=1e-12)
    assert str(flow["theta"]) == config.analysis.theta
    assert flow["M"].sum(axis=1) == pytest.approx(1, abs=1e-14)


def test_rewound_weights_are_the_same_in_every_ticket(tmp_path: Path) -> None:
    config = micro(tmp_path / "run")
    finish(config)
    first, *others = tickets(config)
    for other in others:
        assert all(torch.equal(first.rewind[n], other.rewind[n]) for n in first.rewind)
    assert int(first.rewind["bn1.num_batches_tracked"]) == 2
    for one, next_ in zip(tickets(config), others, strict=False):
        assert not any((next_.masks[n] & ~one.masks[n]).any() for n in one.masks)


def test_lr_rewinding_keeps_trained_weights(tmp_path: Path) -> None:
    config = micro(tmp_path / "run", rewind__kind="lr")
    finish(config)
    tracked = [int(ticket.rewind["bn1.num_batches_tracked"]) for ticket in tickets(config)]
    assert tracked == [0, 6, 10]
    assert [row["steps"] for row in rows(tmp_path / "run")] == [6, 4, 4]


def test_no_prune_is_one_training(tmp_path: Path) -> None:
    config = micro(tmp_path / "run", prune__rounds=0)
    finish(config)
    (row,) = rows(tmp_path / "run")
    assert row["density"] == 1
    assert np.load(tmp_path / "run" / "flow.npz")["M"].shape[0] == 1


def test_a_diverging_training_stops_with_its_cause(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    nan = replace(TASKS["classification"], loss=lambda outputs, targets: outputs.sum() * math.nan)
    monkeypatch.setattr(lab, "TASKS", {"classification": nan})
    with pytest.raises(
        NonFiniteError, match=r"round 0 became NaN before step 6; train\.lr = 0\.05"
    ):
        run(make_config())


def test_a_test_loss_that_is_not_finite_is_null(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "evaluate", lambda *_, **__: Score(math.inf, {"accuracy": 0.1}))
    finish(make_config())
    assert [row["loss"] for row in rows(Path(make_config().run.out))] == [None] * 3


def test_rows_hold_what_a_reader_needs(finished: tuple[Path, dict[str, Any]]) -> None:
    out, _ = finished
    per_epoch = lab.build(micro(out)).train.steps_per_epoch
    for row in rows(out):
        assert row["density"] == row["remaining"] / row["total"]
        assert 0 <= row["accuracy"] <= 1
        assert row["seconds"] > 0
        assert row["bit_exact"] is True
        assert row["epochs"] == row["steps"] / per_epoch
        assert row["steps"] == (4 if row["round"] else 6)


def test_averaged_weights_are_saved_and_scored(tmp_path: Path) -> None:
    config = micro(tmp_path / "run", train__ema=0.9, prune__rounds=1)
    finish(config)
    for row, ticket in zip(rows(tmp_path / "run"), tickets(config, 2), strict=True):
        path = tmp_path / "run" / "averages" / f"round_0{row['round']}.safetensors"
        made = lab.build(micro(tmp_path / "other", model__path=str(path)))
        masks = {name: made.masks[name] for name in made.masks}
        made.masks.load_state_dict(ticket.masks)
        state = made.model.state_dict()
        assert all(torch.equal(t, state[n]) for n, t in load_file(path).items())
        score = evaluate(made.model, made.test, made.task, Stop(), batch_size=1000)
        assert (row["average_accuracy"], row["average_loss"]) == (score.accuracy, score.loss)
        assert row["average_loss"] != row["loss"]
        assert masks.keys() == made.masks.keys()
