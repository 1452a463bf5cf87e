"""A whole round of iterative magnitude pruning, three ways: train an epoch, measure, prune, rewind.

    python benchmarks/bench_round.py            ResNet-20 on 8x8 digits and on 32x32 images
    python benchmarks/bench_round.py --quick    digits alone
    python benchmarks/bench_round.py --model bert-base    a step, a prune and the input of BERT-base

"usual way" is a DataLoader, torch.optim.SGD and torch.nn.utils.prune, "open_lth style" multiplies
the weights by masks before each forward pass and sorts a NumPy copy. All three train the same
network on the same images with the same number of steps. Each one's training and its pruning (with
measuring and rewinding) are shown apart as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import bert_round
import harness
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.utils.data import DataLoader, TensorDataset

import impcore
from impcore import data, models

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
    """impcore: batches prepared once, channels_last, MaskedSGD, prune_global, Masks.rewind."""

    def __init__(self, work: Task) -> None:
        self.model = models.build("resnet20", in_channels=1)
        self.model.to(memory_format=torch.channels_last)
        self.masks = impcore.Masks(self.model)
        self.flow = impcore.Flow(self.masks, models.blocks_of(self.model))
        self.start = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.batches = data.DeviceBatches(
            work.dataset.train,
            work.dataset,
            batch_size=BATCH,
            device=torch.device("cpu"),
            memory_format=torch.channels_last,
            seed=0,
        )
        self.optimizer = impcore.MaskedSGD(self.model.parameters(), masks=self.masks, **SGD)

    def train(self) -> None:
        """One epoch."""
        _steps(self.model, self.optimizer, self.batches.epoch(0), nothing_before)

    def prune(self) -> None:
        """Measures M, prunes 20 %, rewinds."""
        impcore.prune_global(self.model, RATE, flow=self.flow)
        self.masks.rewind(self.start)


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
        sums = [(layer.weight_mask * layer.weight_orig).abs().sum() for layer, _ in self.layers]
        (torch.stack(sums) / sum(sums)).tolist()
        prune.global_unstructured(self.layers, prune.L1Unstructured, amount=RATE)
        with torch.no_grad():
            for (layer, _), start in zip(self.layers, self.start, strict=True):
                layer.weight_orig.copy_(start)


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


def compare(work: Task, repeats: int) -> list[harness.Comparison]:
    """Times a round and its two parts."""
    contenders = {"impcore": Ours, "usual way": Usual, "open_lth style": OpenLth}
    made = {name: kind(work) for name, kind in contenders.items()}
    train = harness.measure([harness.Case(k, v.train) for k, v in made.items()], repeats)
    cut = harness.measure([harness.Case(k, v.prune) for k, v in made.items()], repeats)
    whole = {name: train[name] + cut[name] for name in made}
    parts = {"round": whole, "training": train, "measure, prune, rewind": cut}
    n = made["impcore"].masks.total
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


def compare_all(quick: bool) -> list[harness.Comparison]:
    """ResNet-20 at 8x8, and at 32x32."""
    found = compare(task("ResNet-20, 8x8 digits", 8), 3 if quick else 7)
    return found if quick else [*found, *compare(task("ResNet-20, 32x32", 32), 3)]


if __name__ == "__main__":
    harness.command_line("round", __doc__, compare_all, {"bert-base": bert_round.compare})
