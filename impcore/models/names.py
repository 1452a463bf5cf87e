"""How the tensors of a family of networks are named in the files of others.

Invariant: renaming is a pure function of one name; a name that no rule knows stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Names:
    """A family's conventions.

    Attributes:
        rename: a file's name of a tensor to the network's.
        may_be_left: whether a file may lack a tensor of the network, or have it in another shape.
        may_be_unused: whether a file may hold a tensor that the network lacks.
        should_be: what such a file should be, for an error.
    """

    rename: Callable[[str], str]
    may_be_left: Callable[[str], bool]
    may_be_unused: Callable[[str], bool]
    should_be: str


_HF_STEM = re.compile(r"(?:resnet\.)?embedder\.embedder\.(convolution|normalization)\.(\w+)")
_HF_BRANCH = re.compile(
    r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)"
    r"\.(convolution|normalization)\.(\w+)"
)
_HF_SHORTCUT = re.compile(
    r"(?:resnet\.)?encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut"
    r"\.(convolution|normalization)\.(\w+)"
)
_HF_HEAD = re.compile(r"classifier\.1\.(\w+)")


def is_counter(name: str) -> bool:
    """Whether a tensor counts batches: older files lack it, and nothing here reads it."""
    return name.endswith("num_batches_tracked")


def _torchvision_name(name: str) -> str:
    if match := _HF_STEM.fullmatch(name):
        kind, what = match.groups()
        return f"{_kind(kind)}1.{what}"
    if match := _HF_BRANCH.fullmatch(name):
        stage, block, layer, kind, what = match.groups()
        return f"layer{int(stage) + 1}.{block}.{_kind(kind)}{int(layer) + 1}.{what}"
    if match := _HF_SHORTCUT.fullmatch(name):
        stage, block, kind, what = match.groups()
        place = 0 if kind == "convolution" else 1
        return f"layer{int(stage) + 1}.{block}.downsample.{place}.{what}"
    if match := _HF_HEAD.fullmatch(name):
        return f"fc.{match[1]}"
    return name


def _kind(kind: str) -> str:
    return "conv" if kind == "convolution" else "bn"


RESNET = Names(
    rename=_torchvision_name,
    may_be_left=lambda name: name == "conv1.weight" or name.startswith("fc.") or is_counter(name),
    may_be_unused=lambda name: False,
    should_be="the state dict of the same ResNet under torchvision's or Hugging Face's names",
)
"""The first convolution and the head depend on the images and on the classes."""

_BERT_PART = re.compile(r"(?:embeddings|encoder|pooler)\.")
_OF_A_TASK = ("cls.", "classifier.", "qa_outputs.")


def _bert_name(name: str) -> str:
    name = f"bert.{name}" if _BERT_PART.match(name) else name
    # The names of TensorFlow's LayerNorm, which the oldest files have.
    stem, dot, what = name.rpartition(".")
    return stem + dot + {"gamma": "weight", "beta": "bias"}.get(what, what)


BERT = Names(
    rename=_bert_name,
    may_be_left=lambda name: name.startswith((*_OF_A_TASK, "bert.pooler.")),
    may_be_unused=lambda name: name.startswith(_OF_A_TASK) or name.endswith(".position_ids"),
    should_be="the state dict of a BERT of the same sizes under Hugging Face's names",
)
"""The heads depend on the task; a model trained on masked tokens alone may have no pooler."""
