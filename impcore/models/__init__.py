"""The networks that the experiments prune, by name; each says what its blocks are.

Invariant: `ARCHITECTURES` (of images) and `TEXT_ARCHITECTURES` (of tokens) hold every name, a
recipe's `model.arch` takes no other (a test compares them), and importing this module does not
import PyTorch.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Collection
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

from impcore.integers import checked
from impcore.models.blocks import HasBlocks, HasHead, blocks_of, head_of
from impcore.models.stems import STEMS
from impcore.nearest import nearest

if TYPE_CHECKING:
    from torch import nn

    from impcore.models.weights import Taken

__all__ = [
    "ARCHITECTURES",
    "STEMS",
    "TEXT_ARCHITECTURES",
    "HasBlocks",
    "HasHead",
    "blocks_of",
    "build",
    "build_text",
    "config_of_text",
    "head_of",
    "load_text",
]


def _cifar_resnet(depth: int, **options: object) -> nn.Module:
    from impcore.models import resnet_cifar

    return resnet_cifar.cifar_resnet(depth, **options)  # type: ignore[arg-type]


def _imagenet_resnet(depth: int, **options: object) -> nn.Module:
    from impcore.models import resnet_imagenet

    return resnet_imagenet.imagenet_resnet(depth, **options)  # type: ignore[arg-type]


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    **{f"resnet{depth}": partial(_cifar_resnet, depth) for depth in (14, 20, 32, 44, 56)},
    **{f"resnet{depth}": partial(_imagenet_resnet, depth) for depth in (18, 26, 34, 50, 101)},
}
"""Name → builder, called with the keywords of `build`. A new network is one more entry."""


TEXT_ARCHITECTURES = {"bert": "impcore.models.bert"}
"""Name → the module whose `build` and `load` make it, as `build_text` and `load_text` call them."""


def build(
    arch: str,
    *,
    stem: str = "cifar",
    num_classes: int = 10,
    in_channels: int = 3,
    bn_gamma: str | None = None,
) -> nn.Module:
    """Make the network `arch` on the CPU in float32, freshly initialised.

    All random numbers come from PyTorch's global CPU generator: seed it first
    (`torch.manual_seed`) and the same call gives the same weights, bit for bit.

    Args:
        arch: a key of `ARCHITECTURES`.
        stem: one of `STEMS`; the CIFAR family (resnet14 20 32 44 56) has only "cifar".
        num_classes: width of the output, at least 1.
        in_channels: channels of the input images, at least 1.
        bn_gamma: "uniform" draws the BatchNorm scales from U(0, 1), "ones" sets them to 1;
            None takes the architecture's published choice ("uniform" in the CIFAR family, "ones"
            in torchvision's).

    Returns:
        A module from images [N, in_channels, H, W] to logits [N, num_classes].

    Raises:
        ValueError: an argument is not one of the values above; the message quotes it.
    """
    _known(arch, "architecture", ARCHITECTURES)
    if stem not in STEMS:
        raise ValueError(f"stem: {stem!r} is not one of {', '.join(STEMS)}")
    counts = _counts(num_classes=num_classes, in_channels=in_channels)
    return ARCHITECTURES[arch](stem=stem, **counts, bn_gamma=bn_gamma)


def build_text(
    arch: str,
    *,
    task: str,
    num_classes: int,
    vocab_size: int,
    hidden_size: int,
    layers: int,
    heads: int,
    intermediate_size: int,
    pad_token: int = 0,
    positions: int = 512,
    dropout: float = 0.1,
    initializer_range: float = 0.02,
) -> nn.Module:
    """Make the text model `arch` on the CPU in float32, freshly initialised as `build` does.

    Args:
        arch: a key of `TEXT_ARCHITECTURES`.
        task: "classification", "regression", "extractive_qa" or "mlm": which head it has.
        num_classes: width of a classification's output; 1 for the other tasks.
        vocab_size: tokens in the tokenizer's vocabulary.
        hidden_size, layers, heads, intermediate_size: BERT-base has 768, 12, 12, 3072.
        pad_token: the number of the padding token.
        positions: the longest input, in tokens.
        dropout: dropout probability, in [0, 1).
        initializer_range: standard deviation of the initial weights; a narrow model wants more of
            it than BERT-base's, about as 1 / sqrt(hidden_size).

    Returns:
        A module called with the tensors of a text batch as keywords; see `impcore.models.bert`.

    Raises:
        ValueError: an argument is not one of the values above.
        MissingExtraError: Hugging Face transformers is not installed.
    """
    sizes = _counts(
        num_classes=num_classes,
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        layers=layers,
        heads=heads,
        intermediate_size=intermediate_size,
        positions=positions,
    )
    if hidden_size % heads:
        raise ValueError(f"heads: {heads} does not divide hidden_size, {hidden_size}")
    if pad_token not in range(vocab_size):
        raise ValueError(f"pad_token: {pad_token!r} is not a token of 0 to {vocab_size - 1}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout: {dropout!r} is not in [0, 1)")
    if not 0 < initializer_range < math.inf:
        raise ValueError(f"initializer_range: {initializer_range!r} is not a positive number")
    made: nn.Module = _text(arch).build(
        task=task,
        **sizes,
        pad_token=pad_token,
        dropout=dropout,
        initializer_range=float(initializer_range),  # transformers takes no integer for one
    )
    return made


def load_text(
    arch: str, path: str | os.PathLike[str], *, task: str, num_classes: int, vocab_size: int
) -> tuple[nn.Module, Taken]:
    """Load the text model `arch` with its own sizes; what its file lacks is freshly initialised.

    Args:
        arch: a key of `TEXT_ARCHITECTURES`.
        path: a directory with config.json and weights, or the name of a model on the Hugging Face
            hub, which is downloaded unless its cache has it.
        task, num_classes, vocab_size: as in `build_text`.

    Returns:
        The module, and what became of its tensors.

    Raises:
        ValueError, MissingExtraError: as in `build_text`.
        CheckpointError: there are no such weights, or they are another network's.
    """
    counts = _counts(num_classes=num_classes, vocab_size=vocab_size)
    loaded: tuple[nn.Module, Taken] = _text(arch).load(os.fspath(path), task=task, **counts)
    return loaded


def config_of_text(arch: str, path: str | os.PathLike[str]) -> str:
    """Return the config.json of the text model `arch` at `path`, as `load_text` finds it.

    Raises:
        ValueError, MissingExtraError, CheckpointError: as in `load_text`.
    """
    found: str = _text(arch).config_of(os.fspath(path))
    return found


def _counts(**given: object) -> dict[str, int]:
    """The counts as integers; raises ValueError unless each is at least 1."""
    return {field: checked(field, value, 1) for field, value in given.items()}


def _known(arch: str, what: str, valid: Collection[str]) -> None:
    """Raise ValueError, with the nearest name, unless `arch` is one of the `valid` ones."""
    if not isinstance(arch, str) or arch not in valid:
        hint = nearest(arch, valid)
        raise ValueError(f"arch: no {what} {arch!r}{hint}; valid: {', '.join(valid)}")


def _text(arch: str) -> ModuleType:
    _known(arch, "text architecture", TEXT_ARCHITECTURES)
    return importlib.import_module(TEXT_ARCHITECTURES[arch])
