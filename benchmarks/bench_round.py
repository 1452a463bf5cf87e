"""A whole round of iterative magnitude pruning, several ways: train, measure, prune, rewind.

    python benchmarks/bench_round.py            ResNet-20 on 8x8 digits and on 32x32 images
    python benchmarks/bench_round.py --quick    digits alone
    python benchmarks/bench_round.py --model bert-base    a step, a prune and the input of BERT-base

"impcore" is what impcore-run does, "bf16" with `train.amp`. "usual way" is a DataLoader,
torch.optim.SGD and torch.nn.utils.prune, "open_lth style" multiplies the weights by masks before
each forward pass and sorts a NumPy copy. All train the same network on the same images with the
same number of steps, each in a process of its own, because how memory is allocated is the process's
business. Each one's training and its pruning (with measuring and rewinding) are shown apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import bert_round
import harness
import numpy as np
import opponents
import torch
from apart import Apart
from comparison import Report
from targets import Rule, judge
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

import impcore
from impcore import config, data, models
from impcore.imp import determinism, lab, training

RATE = 0.2
BATCH = 128
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}


@dataclass
class Task:
    """Images (float32, normalised) and labels, and the data set they come from."""

    name: str
    dataset: data.Dataset
    images: torch.Tensor
    labels: torch.Tensor


def task(name: str, size: int) -> Task:
    """The digits, enlarged to `size` x `size` pixels."""
    digits = data.load("digits")

    def enlarged(split: data.Split) -> data.Split:
        images = functional.interpolate(split.images.float(), size=size).to(torch.uint8)
        return data.Split(images, split.labels)

    dataset = replace(digits, train=enlarged(digits.train), test=enlarged(digits.test))
    images = (dataset.train.images.float() / digits.scale - digits.mean[0]) / digits.std[0]
    return Task(name, dataset, images, digits.train.labels.long())


class Ours:
    """impcore: what a run trains by, prune_global, Masks.rewind."""

    amp = "none"

    def __init__(self, work: Task) -> None:
        determinism.deterministic(0).__enter__()  # as a run is; the process has no other user
        self._made = lab.build(config.Config.from_dict(self._recipe()), dataset=work.dataset)
        self.model, self.masks, self.flow = self._made.model, self._made.masks, self._made.flow
        self.start = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.learner = self._made.learner()

    def _recipe(self) -> dict[str, dict[str, object]]:
        train = {"length": "1ep", "batch_size": BATCH, "channels_last": True, "amp": self.amp}
        return {
            "run": {"device": "cpu"},
            "model": {"arch": "resnet20"},
            "data": {"name": "digits"},
            "train": {**train, **SGD},
            "prune": {"rounds": 1, "rate": RATE},
            "rewind": {"to": "init"},
            "analysis": {},
        }

    def train(self) -> None:
        """One epoch."""
        self.model.train()
        batches = self._made.train
        for _ in training.steps(
            self.learner, batches, self._made.rate_at, start=0, end=batches.steps_per_epoch
        ):
            pass

    def prune(self) -> None:
        """Measures M, prunes 20 %, rewinds."""
        impcore.prune_global(self.model, RATE, flow=self.flow)
        self.masks.rewind(self.start)


class OursInBfloat16(Ours):
    """The same with `train.amp = "bf16"`."""

    amp = "bf16"


class Usual:
    """DataLoader, torch.optim.SGD, torch.nn.utils.prune."""

    def __init__(self, work: Task) -> None:
        self.model = models.build("resnet20", in_channels=1)
        self.layers = [
            (layer, "weight")
            for layer in self.model.modules()
            if isinstance(layer, (nn.Conv2d, nn.Linear))
        ]
        self.start = [layer.weight.detach().clone() for layer, _ in self.layers]
        prune.global_unstructured(self.layers, prune.L1Unstructured, amount=0)
        self.loader = DataLoader(TensorDataset(work.images, work.labels), BATCH, shuffle=True)
        self.optimizer = torch.optim.SGD(self.model.parameters(), **SGD)

    def train(self) -> None:
        """One epoch."""
        _steps(self.model, self.optimizer, iter(self.loader), nothing_before)

    def prune(self) -> None:
        """Measures M, prunes 20 %, rewinds."""
        opponents.round_of_torch_prune(self.layers, self.start, RATE)


class OpenLth:
    """Masks multiplied in before each forward pass; a NumPy sort for the threshold."""

    def __init__(self, work: Task) -> None:
        self.model = models.build("resnet20", in_channels=1)
        self.weights = [
            layer.weight
            for layer in self.model.modules()
            if isinstance(layer, (nn.Conv2d, nn.Linear))
        ]
        self.masks = [torch.ones_like(w) for w in self.weights]
        self.start = [w.detach().clone() for w in self.weights]
        self.loader = DataLoader(TensorDataset(work.images, work.labels), BATCH, shuffle=True)
        self.optimizer = torch.optim.SGD(self.model.parameters(), **SGD)

    def _apply(self) -> None:
        for weight, mask in zip(self.weights, self.masks, strict=True):
            weight.data *= mask

    def train(self) -> None:
        """One epoch."""
        _steps(self.model, self.optimizer, iter(self.loader), self._apply)

    def prune(self) -> None:
        """Measures M, prunes 20 %, rewinds."""
        arrays = [(w.detach() * m).numpy() for w, m in zip(self.weights, self.masks, strict=True)]
        sums = np.array([np.abs(a).sum() for a in arrays])
        sums /= sums.sum()
        alive = np.concatenate([a[m.numpy() == 1] for a, m in zip(arrays, self.masks, strict=True)])
        threshold = np.sort(np.abs(alive))[round(RATE * alive.size)]
        for i, array in enumerate(arrays):
            self.masks[i] = torch.from_numpy((np.abs(array) > threshold).astype(np.float32))
            self.weights[i].data.copy_(self.start[i])


def nothing_before() -> None:
    """What most training loops do before a forward pass."""


def _steps(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]],
    before: Callable[[], None],
) -> None:
    model.train()
    for images, labels in batches:
        before()
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()
        optimizer.step()


CONTENDERS = {
    "impcore": Ours,
    "impcore, bf16": OursInBfloat16,
    "usual way": Usual,
    "open_lth style": OpenLth,
}
TARGETS = [
    Rule("training, *", "the usual way to ours", ("usual way",), ("impcore",), at_least=1.3,
         above=0),
    Rule("training, *", "the usual way to ours in bf16", ("usual way",), ("impcore, bf16",),
         at_least=1.3, above=0),
]  # fmt: skip


def compare(work: Task, repeats: int) -> list[harness.Comparison]:
    """Times a round and its two parts."""
    with ExitStack() as stack:
        made = {name: stack.enter_context(Apart(kind, work)) for name, kind in CONTENDERS.items()}
        train = harness.measure([harness.Case(k, v.train) for k, v in made.items()], repeats)
        cut = harness.measure([harness.Case(k, v.prune) for k, v in made.items()], repeats)
    whole = {name: train[name] + cut[name] for name in made}
    parts = {"round": whole, "training": train, "measure, prune, rewind": cut}
    n = sum(w.numel() for w in OpenLth(work).weights)
    return [
        harness.Comparison(
            op=f"{part}, {work.name}",
            dtype="float32",
            n=n,
            density=1.0,
            bytes=0.0,
            floor="impcore",
            ms=ms,
        )
        for part, ms in parts.items()
    ]


def compare_all(quick: bool) -> Report:
    """ResNet-20 at 8x8, and at 32x32."""
    found = compare(task("ResNet-20, 8x8 digits", 8), 3 if quick else 9)
    found += [] if quick else compare(task("ResNet-20, 32x32", 32), 5)
    return Report(found, judge(TARGETS, found))


if __name__ == "__main__":
    harness.command_line("round", __doc__, compare_all, {"bert-base": bert_round.compare})
