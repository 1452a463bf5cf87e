"""A step and a prune of BERT-base: ours, and torch's fused AdamW with torch.nn.utils.prune.

Weights are random, the architecture is whole; a step is of 32 rows of at most 128 tokens. Shown
apart: the optimiser's step on all parameters, and what the text costs (`bert_text`), which is
measured over an epoch of batches and set against the step.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import bert_text
import opponents
import torch
from comparison import Comparison, Report
from targets import Rule, Target, judge
from timing import Case, measure
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

import impcore
from impcore import models
from impcore.data import TextBatches

SIZES = {"hidden_size": 768, "layers": 12, "heads": 12, "intermediate_size": 3072}
SMALL = {"hidden_size": 128, "layers": 2, "heads": 2, "intermediate_size": 512}
VOCABULARY = 30522
RATE = 0.1
DENSITIES = (1.0, 0.1)
ADAMW = {"lr": 2e-5, "eps": 1e-8, "weight_decay": 0.0}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FUSED = "torch fused, dense"
RULES = (Rule("AdamW, *", "to torch fused, dense", ("impcore",), (FUSED,), at_most=1.05),)
INPUT_LIMIT = 0.03


class Ours:
    """impcore: MaskedAdamW, prune_global with the flow, Masks.rewind."""

    def __init__(self, sizes: dict[str, int], data: TextBatches) -> None:
        self.model, self.data = bert(sizes), data
        self.masks = impcore.Masks(self.model)
        self.flow = impcore.Flow(self.masks, models.blocks_of(self.model))
        self.start = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.optimizer = impcore.MaskedAdamW(self.model.parameters(), masks=self.masks, **ADAMW)

    def train(self) -> None:
        """A step."""
        step(self.model, self.optimizer, self.data)

    def prune(self) -> None:
        """Measures M, prunes, rewinds."""
        impcore.prune_global(self.model, RATE, flow=self.flow)
        self.masks.rewind(self.start)
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
        """A step."""
        step(self.model, self.optimizer, self.data)

    def prune(self) -> None:
        """Measures M, prunes, rewinds."""
        opponents.round_of_torch_prune(self.layers, self.start, RATE)
        wait()


def bert(sizes: dict[str, int]) -> nn.Module:
    """A fresh BERT with a classifier of two classes."""
    torch.manual_seed(0)
    facts = {"task": "classification", "num_classes": 2, "vocab_size": VOCABULARY}
    return models.build_text("bert", **facts, **sizes).to(DEVICE)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, data: TextBatches) -> None:
    """Forward, backward and step on the first batch of an epoch."""
    model.train()
    for inputs, labels in islice(data.epoch(0), 1):
        optimizer.zero_grad()
        functional.cross_entropy(model(**inputs), labels).backward()
        optimizer.step()
    wait()


def wait() -> None:
    """Wait for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def compare(quick: bool) -> Report:
    """Times a step, a prune, the optimisers alone and the input; `quick`: of a small BERT."""
    text = bert_text.Text(8 * bert_text.BATCH if quick else bert_text.ROWS, DEVICE)
    sizes, name = (SMALL, "small BERT") if quick else (SIZES, "BERT-base")
    made = {"impcore": Ours(sizes, text.batches), "usual way": Usual(sizes, text.batches)}
    slow = {"impcore": 3, "usual way": 2}  # a step of BERT-base takes seconds on a CPU
    train = measure([Case(k, v.train, repeats=slow[k]) for k, v in made.items()], 3)
    cut = measure([Case(k, v.prune, repeats=slow[k]) for k, v in made.items()], 3)
    ours = made["impcore"]
    del made
    n = ours.masks.total
    parts = {
        "a step and a prune": {k: train[k] + cut[k] for k in train},
        "a step": train,
        "measure, prune, rewind": cut,
    }
    rows = [_row(f"{part}, {name}", n, ms) for part, ms in parts.items()]
    steps = [_optimizers(sizes, density, name) for density in DENSITIES]
    one, epoch = train["impcore"], measure([Case("batches", text.read)], 3)
    ms = {
        "a step": one,
        "batches": epoch["batches"] / text.batches.steps_per_epoch,
        "tokens made, once a run": text.made,
        "tokens found in the cache, once a run": text.found,
    }
    what = f"input of {bert_text.BATCH} rows of {text.width:.0f} tokens"
    rows.append(_row(f"{what}, {name}", n, ms, floor="a step"))
    judged = judge(RULES, steps) + ([] if quick else _inputs(ms, name))
    return Report([*rows, *steps], judged)


def _row(
    op: str, n: int, ms: dict[str, float], density: float = 1.0, floor: str = ""
) -> Comparison:
    return Comparison(op, "float32", n, density, bytes=0.0, floor=floor or next(iter(ms)), ms=ms)


def _inputs(ms: dict[str, float], name: str) -> list[Target]:
    """What the text costs beside a step, whether tokens are found or made in this run."""
    found = []
    for how in ("found in the cache", "made"):
        cost = ms["batches"] + ms[f"tokens {how}, once a run"] / bert_text.EPOCHS
        what = f"input of a step, tokens {how}, {name}: to a step"
        found.append(Target(what, cost / ms["a step"], INPUT_LIMIT, at_least=False))
    return found


def _optimizers(sizes: dict[str, int], density: float, name: str) -> Comparison:
    """The optimisers' steps on the same parameters, embeddings included, and gradients."""
    model = bert(sizes)
    masks = impcore.prune_global(model, rate=1 - density)
    parameters = list(model.parameters())
    twins = [nn.Parameter(parameter.detach()) for parameter in parameters]
    generator = torch.Generator().manual_seed(1)
    for parameter, twin in zip(parameters, twins, strict=True):
        gradient = torch.randn(parameter.shape, generator=generator) * 1e-3
        parameter.grad = twin.grad = gradient.to(DEVICE)
    ours = impcore.MaskedAdamW(parameters, masks=masks, **ADAMW)
    theirs = torch.optim.AdamW(twins, fused=True, **ADAMW)
    ms = measure([Case("impcore", _waited(ours)), Case(FUSED, _waited(theirs))], 15)
    return _row(f"AdamW, all parameters, {name}", masks.total, ms, density)


def _waited(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    def run() -> None:
        optimizer.step()
        wait()

    return run
