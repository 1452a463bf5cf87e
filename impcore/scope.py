"""Which parameters of a model are pruned.

The default scope is the weights of Linear and convolution layers that require gradients: not
biases, norms or embeddings. `include` and `exclude` narrow it by fnmatch patterns on parameter
names. Invariant: a parameter that layers share is found once, under its first name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise

from torch import nn

from impcore.errors import LayoutError
from impcore.ops import checks

PRUNABLE_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)

Patterns = tuple[str, ...] | None


@dataclass(frozen=True)
class Scope:
    """The prunable parameters of a model, in the order of `named_parameters()`.

    Attributes:
        parameters: name to parameter; the first name of each distinct piece of memory.
        aliases: every further (name, parameter) over the same memory, to its first name.
        frozen: names left out because they do not require gradients.
    """

    parameters: dict[str, nn.Parameter]
    aliases: dict[str, tuple[str, nn.Parameter]]
    frozen: tuple[str, ...]


def patterns_of(value: Sequence[str] | None, name: str) -> Patterns:
    """Checks an include= or exclude= argument.

    Raises:
        TypeError: not a sequence of strings.
    """
    if value is None:
        return None
    if isinstance(value, str) or not all(isinstance(pattern, str) for pattern in value):
        raise TypeError(f"{name} must be a list of patterns such as ['layer1.*'], got {value!r}")
    return tuple(value)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether any fnmatch pattern matches a parameter's name (case counts)."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def candidates(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter of the default scope, frozen ones and second names of tied ones included."""
    in_layers = _parameters_in(model, PRUNABLE_LAYERS, "weight")
    embedded = _parameters_in(model, EMBEDDINGS, "weight")
    return {
        name: parameter
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if id(parameter) in in_layers and id(parameter) not in embedded
    }


def narrow(names: Iterable[str], include: Patterns, exclude: Patterns) -> list[str]:
    """The names that `include` admits and `exclude` does not take away."""
    return [
        name
        for name in names
        if (include is None or matches(name, include)) and not matches(name, exclude or ())
    ]


def find_scope(model: nn.Module, include: Patterns, exclude: Patterns) -> Scope:
    """Finds the prunable parameters of an unwrapped model.

    Raises:
        ValueError: a pattern matches nothing, or nothing is left to prune.
        TypeError, NotImplementedError, LayoutError: a parameter cannot be masked; the message names
            it and says how to go on.
    """
    found = candidates(model)
    _check_patterns(found, include, "include")
    _check_patterns(found, exclude, "exclude")
    chosen = {name: found[name] for name in narrow(found, include, exclude)}
    frozen = tuple(name for name, parameter in chosen.items() if not parameter.requires_grad)
    trainable = {name: p for name, p in chosen.items() if p.requires_grad}
    if not trainable:
        raise ValueError(_nothing_left(model, found, frozen))
    for name, parameter in trainable.items():
        checks.check_maskable(parameter, name)
    parameters, aliases = _merge_tied(trainable)
    _check_uniform(parameters)
    return Scope(parameters, aliases, frozen)


def _parameters_in(model: nn.Module, layers: tuple[type, ...], field: str) -> set[int]:
    return {
        id(module._parameters[field])
        for module in model.modules()
        if isinstance(module, layers) and module._parameters.get(field) is not None
    }


def _check_patterns(found: dict[str, nn.Parameter], patterns: Patterns, argument: str) -> None:
    for pattern in patterns or ():
        if not any(fnmatchcase(name, pattern) for name in found):
            some = [*list(found)[:8], *(["…"] if len(found) > 8 else [])]
            raise ValueError(
                f"{argument} pattern {pattern!r} matches no prunable parameter; there are: "
                f"{', '.join(some)}"
            )


def _nothing_left(model: nn.Module, candidates: dict[str, nn.Parameter], frozen: object) -> str:
    kind = type(model).__name__
    if not candidates:
        return f"{kind} has no Linear or convolution weights to prune"
    if frozen:
        return f"every prunable parameter of {kind} is frozen (requires_grad=False): {frozen}"
    return f"include and exclude leave no prunable parameter of {kind}"


def _merge_tied(
    found: dict[str, nn.Parameter],
) -> tuple[dict[str, nn.Parameter], dict[str, tuple[str, nn.Parameter]]]:
    """One entry for each piece of memory; pieces that partly overlap are refused."""
    parameters: dict[str, nn.Parameter] = {}
    aliases: dict[str, tuple[str, nn.Parameter]] = {}
    first: dict[tuple[object, ...], str] = {}
    for name, p in found.items():
        memory = (str(p.device), p.data_ptr(), p.dtype, tuple(p.shape), p.stride())
        key = memory if p.numel() else (id(p),)
        if key in first:
            aliases[name] = (first[key], p)
        else:
            first[key] = name
            parameters[name] = p
    spans = sorted(
        (str(p.device), p.data_ptr(), p.data_ptr() + p.numel() * p.element_size(), name)
        for name, p in parameters.items()
        if p.numel()
    )
    for (device, _, end, name), (next_device, start, _, next_name) in pairwise(spans):
        if device == next_device and start < end:
            raise LayoutError(
                f"{name} and {next_name} overlap in memory without being the same tensor; a weight "
                "would have two masks"
            )
    return parameters, aliases


def _check_uniform(parameters: dict[str, nn.Parameter]) -> None:
    first_name, first = next(iter(parameters.items()))
    for name, p in parameters.items():
        if p.dtype != first.dtype:
            raise TypeError(
                f"prunable weights mix dtypes: {first_name} is {first.dtype}, {name} is {p.dtype}; "
                "convert the model to one dtype, or leave some out with exclude="
            )
        if p.device != first.device:
            raise ValueError(
                f"prunable weights are on several devices: {first_name} on {first.device}, {name} "
                f"on {p.device}; move the model to one device"
            )
