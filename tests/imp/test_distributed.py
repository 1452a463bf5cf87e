"""Two processes over Gloo: what they tell each other, and what they must agree on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from imp_harness import micro
from torch import Tensor, nn
from world_harness import Processes

from impcore import Masks, data
from impcore.data.share import Share
from impcore.data.text.batches import TextBatches
from impcore.data.text.dataset import TextDataset, TextSplit
from impcore.errors import ConfigError, InvariantError
from impcore.imp import environment, signals, torchrun, training
from impcore.imp.distributed import ALONE, AgreedStop, World
from impcore.imp.evaluation import evaluate
from impcore.imp.learner import Learner
from impcore.imp.signals import Stop, Stopped
from impcore.imp.tasks import TASKS
from impcore.imp.torchrun import joined

TASK = TASKS["classification"]
SAME_MASKS = r"no longer have the same masks: process 0: a, process 1: b; the last checkpoint"


def together(target: Callable[..., int], tmp_path: Path, *arguments: Any, size: int = 2) -> None:
    """Call `target` in several processes; each asserts for itself."""
    ended = Processes(target, *arguments, logs=tmp_path / "logs", size=size).end()
    assert [e.code for e in ended] == [0] * size, ended


def _talk() -> int:
    with joined("cpu") as world:
        assert (world.size, world.rank) == (2, int(os.environ["RANK"]))
        tree = {"rank": world.rank, "tensor": torch.full((world.rank + 1,), float("nan"))}
        first, second = world.gather(tree)
        assert (first["rank"], second["rank"]) == (0, 1)
        assert [len(part["tensor"]) for part in (first, second)] == [1, 2]
        made = world.from_writer(lambda: (world.rank, {"x": torch.arange(3)}))
        assert made[0] == 0
        assert made[1]["x"].tolist() == [0, 1, 2]
        assert world.from_writer(lambda: None) is None
        model = nn.BatchNorm1d(2)
        model.running_mean.fill_(world.rank + 5)
        world.send_buffers(model)
        assert model.running_mean.tolist() == [5, 5]
    return 0


def test_what_they_tell_each_other(tmp_path: Path) -> None:
    together(_talk, tmp_path)


def _disagree() -> int:
    with joined("cpu") as world:
        world.all_agree("masks", lambda: "a")
        with pytest.raises(InvariantError, match=SAME_MASKS):
            world.all_agree("masks", lambda: "ab"[world.rank])
        config = micro(Path(f"run{world.rank}")).model_dump(mode="json")
        world.all_like({"config": config, "torch": "1"}, environment.diff)
        # The first process to raise speaks, the other ends silently.
        world.all_like({"config": config, "torch": str(world.rank)}, environment.diff)
    return 0


def test_disagreement_is_an_error(tmp_path: Path) -> None:
    ended = Processes(_disagree, logs=tmp_path / "logs").end()
    assert [e.code for e in ended] == [1, 1]
    (said,) = [e.err for e in ended if e.err]
    assert "must be alike (process 0 -> process 1):\n  torch: 0 -> 1" in said


def _stop_at_the_same_step() -> int:
    with joined("cpu") as world:
        stop = world.stop()
        assert isinstance(stop, AgreedStop)
        steps = 0
        while not stop.pending():
            steps += 1
            if steps == 3 + world.rank:
                stop.request(signal.SIGINT if world.rank else signal.SIGTERM)
        assert set(world.gather(steps)) == {4}
        with pytest.raises(Stopped) as stopped:
            stop.check()
        assert stopped.value.signum == signal.SIGTERM
        other = world.stop()
        other.check()
        if world.rank == 1:
            other.request(signal.SIGINT)
        with pytest.raises(Stopped) as stopped:
            other.check()
        assert stopped.value.exit_code == 130
    return 0


def test_all_stop_after_the_same_step(tmp_path: Path) -> None:
    together(_stop_at_the_same_step, tmp_path)


@pytest.mark.parametrize("size", [1, 2])
def test_a_signal_that_torchrun_passes_on_is_no_second_one(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    clock, quit_with = [10.0], list[int]()
    monkeypatch.setattr(signals, "monotonic", lambda: clock[0])
    monkeypatch.setattr(signals, "quit_at_once", quit_with.append)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    stop = World(size=size).stop()
    assert stop.request(signal.SIGTERM)
    for clock[0], quits in ((10.1, 0), (12.9, 0), (13.1, 1)):
        assert not stop.request(signal.SIGTERM)
        assert len(quit_with) == quits
    assert stop.notice.endswith("once more, 3 seconds later, to quit at once\n")


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))


def digits(world: World) -> data.DeviceBatches:
    """101 images: eight batches of twelve, and one of five."""
    loaded = data.load("digits")
    few = data.Split(loaded.train.images[:101], loaded.train.labels[:101])
    share = Share(world.rank, world.size)
    return data.DeviceBatches(few, loaded, batch_size=12, seed=2, share=share)


class Guesser(nn.Module):
    """Logits of the masked places, from their neighbours' mean and their own tokens."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.head = nn.Embedding(40, 6), nn.Linear(12, 40)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, positions: Tensor
    ) -> Tensor:
        hidden = self.tokens(input_ids) * attention_mask[..., None]
        mean = hidden.sum(1, keepdim=True) / attention_mask.sum(1)[:, None, None]
        both = torch.cat((hidden, mean.expand_as(hidden)), dim=2)
        return self.head(both.flatten(0, 1)[positions])


def sentences(world: World) -> TextBatches:
    """Rows of 3 to 90 tokens, of which 1 to 13 are masked: their shares are never equal."""
    starts = torch.tensor([0, *(3 + (n * n * 7) % 88 for n in range(53))]).cumsum(0)
    tokens = torch.arange(int(starts[-1]), dtype=torch.int32) % 36 + 4
    second = starts.diff().int()
    rows = TextSplit(tokens, starts, second, torch.zeros(53, dtype=torch.int64))
    dataset = TextDataset("t", "mlm", 1, 40, 0, 3, (0, 1, 2, 3), rows, rows, "")
    share = Share(world.rank, world.size)
    return TextBatches(rows, dataset, batch_size=12, seed=2, share=share)


def trained(world: World, accumulate: int, masked: bool = False) -> tuple[nn.Module, float]:
    """A model after some two epochs, and the sum of its losses."""
    model, task = (Guesser(), TASKS["mlm"]) if masked else (linear(), TASK)
    batches = sentences(world) if masked else digits(world)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    learner = Learner(model, Masks(model), optimizer, task, task.loss, torch.device("cpu"))
    parallel = world.parallel(model)
    learner = replace(learner, called=parallel, parallel=parallel)
    steps = training.steps(learner, batches, lambda _: 0.1, start=0, end=9, accumulate=accumulate)
    losses = world.gather([loss.item() for _, loss in steps])
    return model, sum(map(sum, losses)) / world.size


def _train_and_score() -> int:
    torch.set_num_threads(1)
    with joined("cpu") as world:
        for accumulate, masked in ((1, True), (2, True), (1, False), (2, False)):
            alone, loss = trained(ALONE, accumulate, masked)
            model, shared = trained(world, accumulate, masked)
            assert shared == pytest.approx(loss, rel=1e-5)
            for mine, theirs in zip(model.parameters(), alone.parameters(), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
        for size in (1, 30, 50, 51, 1000):
            whole = evaluate(alone, digits(ALONE), TASK, Stop(), batch_size=size)
            mine = digits(world)
            score = evaluate(alone, mine, TASK, world.stop(), batch_size=size, world=world)
            assert score == whole
    return 0


def test_shares_make_the_gradient_and_the_score_of_the_whole(tmp_path: Path) -> None:
    together(_train_and_score, tmp_path)


@pytest.mark.parametrize("missing", ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", ""])
def test_one_process_has_no_group(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    if missing:
        monkeypatch.delenv(missing)
    with joined("cpu") as world:
        assert world is ALONE
        assert not torch.distributed.is_initialized()
    assert type(world.stop()) is Stop
    model = nn.Linear(1, 1)
    assert world.parallel(model) is model
    assert world.gather(model) == [model]
    world.all_agree("nothing", lambda: pytest.fail("computed"))


def test_seeds_differ_between_processes() -> None:
    seeds = [World(rank, 8).seed(7) for rank in range(8)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 8
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="sees 1; start at most --nproc-per-node 1"):
        torchrun._take_device(World(1, 2, 1))
