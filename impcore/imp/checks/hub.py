"""The Hugging Face hub, asked once whether it answers, so that a check does not wait for retries.

Invariant: what lies in the hub's cache is found whether the hub answers or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from impcore.config import Config
from impcore.imp.checks.findings import Findings
from impcore.pretrained import is_hub_name

_SECONDS = 5.0
"""How long the hub may take to answer."""


@contextmanager
def asked_once(runs: Iterable[Config], findings: Findings) -> Iterator[None]:
    """A while in which a hub that does not answer is not asked again, if `runs` name what is there.

    Its libraries try every file six times, in 23 seconds; offline they look into their cache alone.
    """
    runs = [run for run in runs if _names_the_hub(run)]
    fault = _fault() if runs else None
    if fault is None:
        yield
        return
    findings.warn("hub", f"{fault}: looked at what its cache here holds")
    before = [(module, module.HF_HUB_OFFLINE) for module in _libraries(runs)]
    try:
        for module, _ in before:
            module.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]
        yield
    finally:
        for module, mode in before:
            module.HF_HUB_OFFLINE = mode  # type: ignore[attr-defined]


def _names_the_hub(config: Config) -> bool:
    if not config.data.is_text:
        return False
    if config.data.source == "hub" and config.data.root is None:
        return True
    weights = config.model.path if config.model.hidden_size is None else None
    return any(is_hub_name(place) for place in (weights, config.data.tokenizer) if place)


def _fault() -> str | None:
    """Why the hub cannot be reached; None if it can, or if nobody would ask it."""
    if find_spec("huggingface_hub") is None:  # said by what needs it
        return None
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS)
    except Exception as error:  # of one library for HTTP or another, by the version
        return f"{constants.ENDPOINT} does not answer ({type(error).__name__}: {str(error)[:200]})"
    return None


def _libraries(runs: list[Config]) -> list[ModuleType]:
    """The modules that hold the mode; datasets copies it when it is first imported."""
    names = ["huggingface_hub.constants"]
    if any(run.data.source == "hub" for run in runs) and find_spec("datasets") is not None:
        names.append("datasets.config")
    return [import_module(name) for name in names]
