"""Recording on the CPU: the recorded function is called where a graph would be replayed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from imp_harness import finish, micro
from safetensors.torch import load
from torch import Tensor, nn

import impcore
from impcore.config import Length, Train
from impcore.errors import ConfigError
from impcore.imp import cuda_graphs, lab, optimizers
from impcore.imp.average import Average
from impcore.imp.cuda_graphs import WARMUP, Batch, StepGraph
from impcore.imp.learner import Learner, gradient_scaler
from impcore.imp.tasks import TASKS

CPU = torch.device("cpu")
TASK = TASKS["classification"]
SIZES = [8, 8, 8, 8, 3, 8, 8, 3, 8]


class Recorder:
    """Counts what is recorded, and replayed."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, function: Callable[[], Tensor]) -> Callable[[], Tensor]:
        self.recorded += 1

        def replay() -> Tensor:
            self.replayed += 1
            return function()

        return replay


class Named(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


def made(graph: StepGraph | None, optimizer: str = "sgd", **options: Any) -> Learner:
    torch.manual_seed(3)
    model = Named(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 4))
    masks = impcore.prune_global(model, rate=0.4)
    train = Train.model_validate({"length": Length("9it"), "optimizer": optimizer})
    if options.pop("ema", False):
        options["average"] = Average(model, 0.7)
    made = optimizers.fresh(model, masks, train)
    return Learner(model, masks, made, TASK, TASK.loss, CPU, graph=graph, **options)


def batch(seed: int, size: int, names: bool) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, 6, generator=generator)
    targets = torch.randint(4, (size,), generator=generator)
    return ({"x": inputs} if names else inputs), targets


def trained(learner: Learner, parts: int = 1, names: bool = False) -> list[float]:
    torch.manual_seed(7)
    losses = []
    for step, size in enumerate(SIZES):
        batches = [batch(10 * step + i, size, names) for i in range(parts)]
        losses.append(learner.step(batches, 0.1 / (1 + step)))
        for inputs, targets in batches:
            (inputs["x"] if isinstance(inputs, dict) else inputs).zero_()
            targets.zero_()
    return [loss.item() for loss in losses]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "adamw", "amp": "bf16"},
        {"clip_norm": 0.1, "ema": True},
        {"amp": "fp16", "scaler": True, "clip_norm": 0.1},
        {"optimizer": "adamw", "scaler": True},
    ],
    ids=str,
)
@pytest.mark.parametrize(("parts", "names"), [(1, True), (2, False)])
def test_a_replayed_step_makes_the_same_bits(
    options: dict[str, Any], parts: int, names: bool
) -> None:
    def scaled() -> dict[str, Any]:
        return options | ({"scaler": gradient_scaler(CPU, "fp16")} if "scaler" in options else {})

    recorder = Recorder()
    graphed = made(StepGraph(CPU, required=names, record=recorder), **scaled())
    plain = made(None, **scaled())
    assert trained(graphed, parts, names) == trained(plain, parts, names)
    found, wanted = graphed.model.state_dict(), plain.model.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())
    assert (recorder.recorded, recorder.replayed) == (1, SIZES[WARMUP:].count(8))
    assert graphed.optimizer.param_groups[0]["lr"] == plain.optimizer.param_groups[0]["lr"]
    for mine, theirs in zip(
        graphed.optimizer.state.values(), plain.optimizer.state.values(), strict=True
    ):
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_control_a_replay_reads_its_own_buffers() -> None:
    graph = StepGraph(CPU, record=Recorder())
    learner = made(graph)
    trained(learner)
    assert len({id(tensor) for held in graph._held for tensor in held}) == 2
    graph._rate.fill_(5)
    before = learner.model.state_dict()["0.weight"].clone()
    assert graph._replay is not None
    graph._replay()
    assert not torch.equal(learner.model.state_dict()["0.weight"], before)


def test_batches_of_keywords_are_recorded_only_where_that_is_required() -> None:
    recorder = Recorder()
    found = trained(made(StepGraph(CPU, record=recorder)), names=True)
    assert found == trained(made(None), names=True)
    assert recorder.recorded == 0


def refuse(function: Callable[[], Tensor]) -> Callable[[], Tensor]:
    raise RuntimeError("operation not permitted when stream is capturing\nmore")


def test_what_cannot_be_recorded_is_stepped_as_usual_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="cannot be recorded as a CUDA graph: operation not"):
        found = trained(made(StepGraph(CPU, record=refuse)))
    assert found == trained(made(None))


def test_what_must_be_recorded_and_cannot_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r'train\.cuda_graph = "on": .* not permitted .*"off"'):
        trained(made(StepGraph(CPU, required=True, record=refuse)))


class FakeGraph:
    """Captures that fail where they are told to."""

    fails = ""

    def capture_begin(self, *pool: object, **options: object) -> None:
        if self.fails == "begin":
            raise RuntimeError("no capture")

    def capture_end(self) -> None:
        if self.fails == "end":
            raise RuntimeError("capture was invalidated")


class FakeStream:
    device = torch.device("cuda", 0)


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The current stream, last: PyTorch's own contexts with neither driver nor device below."""
    current: list[object] = [FakeStream()]
    fakes = {
        "CUDAGraph": FakeGraph,
        "current_stream": lambda device=None: current[-1],
        "set_stream": current.append,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "_get_device_index": lambda *arguments, **options: 0,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)
    # Otherwise a build for CUDA makes one, which takes a driver.
    monkeypatch.setattr(torch.cuda.graph, "default_capture_stream", FakeStream())
    return current


def fail() -> Tensor:
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize("fails", ["", "begin", "body", "end"])
def test_the_stream_before_is_current_again_however_a_capture_ends(
    streams: list[object], monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    monkeypatch.setattr(FakeGraph, "fails", fails)
    before, stream = streams[-1], FakeStream()
    seen: list[object] = []

    def function() -> Tensor:
        seen.append(streams[-1])
        return fail() if fails == "body" else torch.zeros(())

    record = partial(cuda_graphs._recorded, stream)
    with pytest.raises(RuntimeError) if fails else nullcontext():
        record(function)
    assert seen == ([] if fails == "begin" else [stream])
    assert streams[-1] is before


def of_tensors(result: dict[str, Any]) -> dict[str, Any]:
    """A result whose tickets are their tensors' bytes alone: they hold the recipe too."""

    def tensors(data: bytes) -> dict[str, bytes]:
        return {name: raw(tensor) for name, tensor in load(data).items()}

    def raw(tensor: Tensor) -> bytes:
        return tensor.flatten().view(torch.uint8).numpy().tobytes()

    return {k: tensors(v) if k.endswith(".safetensors") else v for k, v in result.items()}


def test_a_recipe_that_differs_in_cuda_graph_alone_leaves_the_same_tensors(tmp_path: Path) -> None:
    """What the comparison below rests on, where no graph is recorded."""
    runs = [
        finish(micro(tmp_path / choice, train__cuda_graph=choice, prune__rounds=1))
        for choice in ("auto", "off")
    ]
    assert of_tensors(runs[0]) == of_tensors(runs[1])
    assert runs[0] != runs[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"train__amp": "bf16", "train__channels_last": True, "train__ema": 0.9},
        {"train__amp": "fp16", "train__clip_norm": 1.0},
        {"train__optimizer": "adamw", "train__accumulate": 2, "data__augment": "crop"},
    ],
    ids=str,
)
def test_a_run_of_replayed_steps_has_the_same_bytes(
    tmp_path: Path, overrides: dict[str, Any]
) -> None:
    common = {"run__device": "cuda", "train__length": "60it", "train__milestones": ["40it"]}
    runs = [
        finish(micro(tmp_path / choice, train__cuda_graph=choice, **common, **overrides))
        for choice in ("on", "off")
    ]
    assert of_tensors(runs[0]) == of_tensors(runs[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("graphed", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {"train__clip_norm": 1.0, "train__ema": 0.9, "train__accumulate": 2},
        {"train__amp": "fp16", "train__optimizer": "adamw", "train__clip_norm": 1.0},
        {"train__amp": "bf16", "train__label_smoothing": 0.1},
    ],
    ids=str,
)
def test_no_step_waits_for_the_device(
    tmp_path: Path, options: dict[str, Any], graphed: bool
) -> None:
    choice = "on" if graphed else "off"
    config = micro(tmp_path, run__device="cuda", train__cuda_graph=choice, **options)
    made = lab.build(config)
    learner = made.learner()
    batches = list(made.train.epoch(0))
    groups = [batches[i : i + 2] for i in range(12)]
    for step, group in enumerate(groups[: WARMUP + 2]):
        learner.step(group, made.rate_at(step))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step, group in enumerate(groups[WARMUP + 2 :]):
            learner.step(group, made.rate_at(step))
    finally:
        torch.cuda.set_sync_debug_mode("default")
