"""A few steps and a prune of BERT-base: ours, and torch's fused AdamW with torch.nn.utils.prune.

The text is random tokens in rows of 128: what is timed does not depend on what they say. The cost
of making our batches is shown apart; it should stay below 3 % of a step.
"""

from __future__ import annotations

import harness
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

import impcore
from impcore import models
from impcore.data import TextBatches, TextDataset
from impcore.data.text.dataset import TextSplit

SIZES = {"hidden_size": 768, "layers": 12, "heads": 12, "intermediate_size": 3072}
SMALL = {"hidden_size": 128, "layers": 2, "heads": 2, "intermediate_size": 512}
VOCABULARY, LENGTH, BATCH, STEPS = 30522, 128, 32, 2
RATE = 0.1
ADAMW = {"lr": 2e-5, "eps": 1e-8, "weight_decay": 0.0}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batches(rows: int) -> TextBatches:
    """Random rows of LENGTH tokens with two classes."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(5, VOCABULARY, (rows * LENGTH,), dtype=torch.int32, generator=generator)
    starts = torch.arange(rows + 1) * LENGTH
    second = torch.full((rows,), LENGTH // 2, dtype=torch.int32)
    split = TextSplit(tokens, starts, second, torch.arange(rows) % 2)
    facts = ("random", "classification", 2, VOCABULARY, 0, 103, (0, 101, 102, 103))
    dataset = TextDataset(*facts, split, split, "")
    return TextBatches(split, dataset, batch_size=BATCH, device=DEVICE)


class Ours:
    """impcore: MaskedAdamW, prune_global with the flow, Masks.rewind."""

    def __init__(self, sizes: dict[str, int], data: TextBatches) -> None:
        self.model, self.data = bert(sizes), data
        self.masks = impcore.Masks(self.model)
        self.flow = impcore.Flow(self.masks, models.blocks_of(self.model))
        self.start = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.optimizer = impcore.MaskedAdamW(self.model.parameters(), masks=self.masks, **ADAMW)

    def train(self) -> None:
        """An epoch of STEPS steps."""
        steps(self.model, self.optimizer, self.data)

    def prune(self) -> None:
        """Measures M, prunes, rewinds."""
        impcore.prune_global(self.model, RATE, flow=self.flow)
        self.masks.rewind(self.start)
        wait()

    def read(self) -> None:
        """The batches of an epoch alone."""
        for _ in self.data.epoch(0):
            pass
        wait()


class Usual:
    """torch.optim.AdamW, fused, and torch.nn.utils.prune."""

    def __init__(self, sizes: dict[str, int], data: TextBatches) -> None:
        self.model, self.data = bert(sizes), data
        inside = (*self.model.bert.encoder.modules(), self.model.bert.pooler.dense)
        self.layers = [(layer, "weight") for layer in inside if isinstance(layer, nn.Linear)]
        self.start = [layer.weight.detach().clone() for layer, _ in self.layers]
        prune.global_unstructured(self.layers, prune.L1Unstructured, amount=0)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True, **ADAMW)

    def train(self) -> None:
        """An epoch of STEPS steps."""
        steps(self.model, self.optimizer, self.data)

    def prune(self) -> None:
        """Measures M, prunes, rewinds."""
        sums = [(layer.weight_mask * layer.weight_orig).abs().sum() for layer, _ in self.layers]
        (torch.stack(sums) / sum(sums)).tolist()
        prune.global_unstructured(self.layers, prune.L1Unstructured, amount=RATE)
        with torch.no_grad():
            for (layer, _), start in zip(self.layers, self.start, strict=True):
                layer.weight_orig.copy_(start)
        wait()


def bert(sizes: dict[str, int]) -> nn.Module:
    """A fresh BERT with a classifier of two classes."""
    torch.manual_seed(0)
    facts = {"task": "classification", "num_classes": 2, "vocab_size": VOCABULARY}
    return models.build_text("bert", **facts, **sizes).to(DEVICE)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, data: TextBatches) -> None:
    """Forward, backward and step on every batch of an epoch."""
    model.train()
    for inputs, labels in data.epoch(0):
        optimizer.zero_grad()
        functional.cross_entropy(model(**inputs), labels).backward()
        optimizer.step()
    wait()


def wait() -> None:
    """Wait for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def compare(quick: bool) -> list[harness.Comparison]:
    """Times STEPS steps, a prune, both together, and our batches alone; `quick`: a small BERT."""
    data = batches(STEPS * BATCH)
    sizes, repeats, name = (SMALL, 3, "small BERT") if quick else (SIZES, 5, "BERT-base")
    made = {"impcore": Ours(sizes, data), "usual way": Usual(sizes, data)}
    train = harness.measure([harness.Case(k, v.train) for k, v in made.items()], repeats)
    cut = harness.measure([harness.Case(k, v.prune) for k, v in made.items()], repeats)
    read = harness.measure([harness.Case("impcore", made["impcore"].read)], repeats)
    whole = {name: train[name] + cut[name] for name in made}
    parts = {
        f"{STEPS} steps and a prune": whole,
        f"{STEPS} steps": train,
        "measure, prune, rewind": cut,
        f"batches of {STEPS} steps": read,
    }
    n = made["impcore"].masks.total
    return [
        harness.Comparison(
            op=f"{part}, {name}", dtype="float32", n=n, density=1.0, bytes=0.0,
            floor="impcore", ms=ms,
        )
        for part, ms in parts.items()
    ]  # fmt: skip
