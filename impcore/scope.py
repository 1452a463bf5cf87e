"""Which parameters of a model are pruned.

The default scope is the weights of Linear and convolution layers that require gradients: not
biases, norms or embeddings. A model whose published protocol prunes less says so (`HasScope`).
`include` and `exclude` narrow the weights of Linear and convolution layers by fnmatch patterns on
parameter names; an `include` replaces what the model says. Invariant: a parameter that layers share
is found once, under its first name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from itertools import pairwise
from typing import Protocol, cast, runtime_checkable

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from impcore.errors import LayoutError
from impcore.ops import checks

PRUNABLE_LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
NORMS = (nn.LayerNorm, nn.RMSNorm)  # the others' weights are vectors

Patterns = tuple[str, ...] | None


@runtime_checkable
class HasScope(Protocol):
    """A model class that says which of its weights are pruned by default."""

    def prunable_patterns(self) -> list[str]:
        """Return fnmatch patterns of parameter names, used where no `include` is given."""
        ...


@dataclass(frozen=True)
class Scope:
    """The prunable parameters of a model, in the order of `named_parameters()`.

    Attributes:
        parameters: name to parameter; the first name of each distinct piece of memory.
        aliases: every further name of the same memory, to its first name.
        frozen: names left out because they do not require gradients.
        computed: names of layers left out because their weight is no parameter of theirs but
            computed from others (torch.nn.utils.prune, weight_norm and other parametrisations).
        others: names of matrices called weights of layers that are no Linear, convolution,
            embedding or norm, such as a packed `in_proj_weight`; none where there is a choice
            (`include`).
    """

    parameters: dict[str, nn.Parameter]
    aliases: dict[str, str]
    frozen: tuple[str, ...]
    computed: tuple[str, ...]
    others: tuple[str, ...]


def patterns_of(value: Sequence[str] | None, name: str) -> Patterns:
    """Checks an include= or exclude= argument, or the patterns of a block.

    Raises:
        TypeError: not a sequence of strings.
    """
    if value is None:
        return None
    # A lone string is a sequence of strings too: "fc*" would be "f", "c" and an all-matching "*".
    patterns = (value,) if isinstance(value, (str, bytes)) else tuple(value)
    if patterns == (value,) or not all(isinstance(pattern, str) for pattern in patterns):
        raise TypeError(f"{name} must be a list of patterns such as ['layer1.*'], got {value!r}")
    return patterns


def matching(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Tells whether any of the fnmatch patterns matches a parameter's name (case counts).

    Names that are written out are looked up and not tried in turn: there may be thousands.
    """
    plain, wild = set[str](), list[str]()
    for pattern in patterns:
        if _is_plain(pattern):
            plain.add(pattern)
        else:
            wild.append(translate(pattern))
    if not wild:
        return plain.__contains__
    regex = re.compile("|".join(wild))
    return lambda name: name in plain or regex.match(name) is not None


def _is_plain(pattern: str) -> bool:
    """Whether an fnmatch pattern is a name and nothing else."""
    return not any(wild in pattern for wild in "*?[")


def candidates(model: nn.Module) -> dict[str, nn.Parameter]:
    """Every parameter of the default scope, frozen ones and second names of tied ones included.

    Raises:
        ValueError: a module holds itself, so that its parameters have names without end.
    """
    try:
        named = list(model.named_parameters(remove_duplicate=False))
    except RecursionError as error:
        raise ValueError(_without_end(model)) from error
    in_layers = {id(p) for p in _weights_of(model, PRUNABLE_LAYERS)}
    embedded = {address(p) for p in _weights_of(model, EMBEDDINGS)}
    return {
        name: parameter
        for name, parameter in named
        if id(parameter) in in_layers and address(parameter) not in embedded
    }


def _without_end(model: nn.Module) -> str:
    """Says which modules hold themselves; named_modules() visits each once."""
    rings = [
        name or "the model itself"
        for name, module in model.named_modules()
        if any(within is module for child in module.children() for within in child.modules())
    ]
    return (
        f"model: its parameters have names without end, for a module lies within itself: "
        f"{', '.join(rings[:3])}; keep what refers back outside of the modules, as in a list"
    )


def narrow(
    found: Mapping[str, nn.Parameter], include: Patterns, exclude: Patterns
) -> dict[str, nn.Parameter]:
    """What `include` admits and `exclude` does not take away under any of its names."""
    goes, stays = matching(exclude or ()), matching(("*",) if include is None else include)
    excluded = {address(p) for name, p in found.items() if goes(name)}
    return {name: p for name, p in found.items() if stays(name) and address(p) not in excluded}


def included(model: nn.Module, include: Patterns) -> Patterns:
    """`include`, or what the model says of itself where that is None."""
    # By its class, for which the answer is kept; of an object the protocol asks for each method.
    if include is None and issubclass(type(model), HasScope):
        patterns = cast(HasScope, model).prunable_patterns()
        return patterns_of(patterns, "prunable_patterns()")
    return include


def find_scope(model: nn.Module, include: Patterns, exclude: Patterns) -> Scope:
    """Finds the prunable parameters of an unwrapped model.

    Raises:
        ValueError: a pattern matches nothing, or nothing is left to prune.
        TypeError, NotImplementedError, LayoutError: a parameter cannot be masked; the message names
            it and says how to go on.
    """
    found, include = candidates(model), included(model, include)
    _check_patterns(found, include, "include")
    _check_patterns(found, exclude, "exclude")
    chosen = narrow(found, include, exclude)
    frozen = tuple(name for name, parameter in chosen.items() if not parameter.requires_grad)
    trainable = {name: p for name, p in chosen.items() if p.requires_grad}
    computed = tuple(
        name or type(model).__name__
        for name, module in model.named_modules()
        if isinstance(module, PRUNABLE_LAYERS) and "weight" not in module._parameters
    )
    if not trainable:
        raise ValueError(_nothing_left(model, found, frozen, computed))
    check_maskable(trainable)
    parameters, aliases = merge_tied(trainable)
    others = _others(model) if include is None else ()
    return Scope(parameters, aliases, frozen, computed, others)


def check_maskable(named: Mapping[str, nn.Parameter]) -> None:
    """Raises unless each parameter can be masked, and all have one dtype and device.

    Raises:
        TypeError, NotImplementedError, LayoutError, ValueError: the message names the parameter.
    """
    for name, p in named.items():
        checks.check_maskable(p, name)
    first_name, first = next(iter(named.items()))
    for name, p in named.items():
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


def merge_tied(
    found: Mapping[str, nn.Parameter],
) -> tuple[dict[str, nn.Parameter], dict[str, str]]:
    """One entry for each piece of memory, and its further names.

    Raises:
        LayoutError: pieces overlap in part.
    """
    parameters: dict[str, nn.Parameter] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    for name, p in found.items():
        # Sparse tensors may have no strides; without memory of its own each is only itself.
        key = (*address(p), p.dtype, tuple(p.shape), p.stride() if pointer(p) else ())
        if key in first:
            aliases[name] = first[key]
        else:
            first[key] = name
            parameters[name] = p
    spans = sorted(
        (str(p.device), pointer(p), pointer(p) + p.numel() * p.element_size(), name)
        for name, p in parameters.items()
        if p.numel() and pointer(p)
    )
    for (device, _, end, name), (next_device, start, _, next_name) in pairwise(spans):
        if device == next_device and start < end:
            raise LayoutError(
                f"{name} and {next_name} overlap in memory without being the same tensor; a weight "
                "would have two masks"
            )
    return parameters, aliases


def _weights_of(model: nn.Module, layers: tuple[type, ...]) -> list[nn.Parameter]:
    weights = (m._parameters.get("weight") for m in model.modules() if isinstance(m, layers))
    return [weight for weight in weights if weight is not None]


def _others(model: nn.Module) -> tuple[str, ...]:
    """What a user may take for prunable, by its name and shape, and is not."""
    known = (*PRUNABLE_LAYERS, *EMBEDDINGS, *NORMS)
    shared = {id(p) for p in _weights_of(model, known)}
    return tuple(
        f"{place}.{name}" if place else name
        for place, module in model.named_modules()
        if not isinstance(module, known)
        for name, p in module.named_parameters(recurse=False)
        if "weight" in name and p.requires_grad and id(p) not in shared
        if not is_lazy(p) and p.dim() >= 2
    )


def address(tensor: Tensor) -> tuple[str, int]:
    """What tensors over the same memory have in common, such as those of a model's state dict."""
    begin = pointer(tensor)
    return ("object", id(tensor)) if begin == 0 else (str(tensor.device), begin)


def pointer(tensor: Tensor) -> int:
    """Where its memory begins; 0 if it is no single block: empty, meta, sparse, of a subclass."""
    try:
        return tensor.data_ptr()
    except (RuntimeError, ValueError, NotImplementedError):
        return 0


def _check_patterns(found: Mapping[str, nn.Parameter], patterns: Patterns, argument: str) -> None:
    for pattern in patterns or ():
        known = pattern in found if _is_plain(pattern) else any(map(matching((pattern,)), found))
        if not known:
            some = [*list(found)[:8], *(["…"] if len(found) > 8 else [])]
            raise ValueError(
                f"{argument} pattern {pattern!r} matches no prunable parameter; there are: "
                f"{', '.join(some)}"
            )


def _nothing_left(
    model: nn.Module, found: object, frozen: tuple[str, ...], computed: tuple[str, ...]
) -> str:
    kind = type(model).__name__
    if not found:
        hint = (
            f": the weights of {', '.join(computed)} are computed from others" if computed else ""
        )
        return f"{kind} has no Linear or convolution weights to prune{hint}"
    if frozen:
        return (
            f"every prunable parameter of {kind} is frozen (requires_grad=False): "
            f"{', '.join(frozen)}"
        )
    return f"include and exclude leave no prunable parameter of {kind}"
