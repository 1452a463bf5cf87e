"""Import runs made by other code bases: their checkpoints become a run directory.

Invariant: PyTorch is imported by the importers alone, when one runs; nothing is unpickled but
tensors, containers and numbers; one checkpoint is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from impcore.errors import CheckpointError
from impcore.output import Tell
from impcore.rg.flow_file import THETAS
from impcore.rg.importers import bert_tickets, blocks, cv_lth, open_lth, state_dicts, write
from impcore.rg.importers.blocks import GRANULARITIES, Columns, Patterns
from impcore.rg.importers.measure import Flow, Load, measure

__all__ = ["GRANULARITIES", "KINDS", "Options", "import_run"]

KINDS = {
    "open_lth": "a lottery directory (every replicate_R) or one replicate directory",
    "cv_lth": "a directory of {n}checkpoint.pth.tar",
    "bert_tickets": "an output directory with checkpoint-STEP/mask.pt (the P flow alone)",
    "torch_prune": "a directory of state dicts with X_orig and X_mask",
    "state_dicts": "a directory of safetensors or state dicts in which zeros are the mask",
}
_REWOUND = ("open_lth", "cv_lth")


@dataclass(frozen=True)
class Options:
    """How to read a run: blocks by pattern or by name, which weights, which files."""

    blocks: Patterns = field(default_factory=dict)  # name -> fnmatch patterns; else granularity
    granularity: str = "stage"
    theta: str = "trained"  # or "rewound", where the files hold both
    files: str | None = None  # glob under PATH: torch_prune and state_dicts
    include: Sequence[str] = ()  # state_dicts: fnmatch patterns of prunable tensors
    exclude: Sequence[str] = ()


def import_run(
    kind: str, path: Path, out: Path, options: Options | None = None, tell: Tell | None = None
) -> list[Path]:
    """Import a run of `kind` from `path` into the run directory `out`; returns what was written.

    An open_lth lottery directory gives one run directory a replicate: out/replicate_1, …
    `tell` hears, in words, of every state before it is read.

    Raises:
        ValueError: an option is wrong or does not belong to this kind.
        CheckpointError: the files are not what the kind says, or hold code.
        NonFiniteError: an alive weight is NaN or infinite.
        RunDirectoryError: `out` holds something else, or cannot be written.
    """
    chosen = options or Options()
    _check(kind, chosen)
    if not path.exists():
        raise CheckpointError(f"{path}: does not exist")
    sources = open_lth.replicates(path) if kind == "open_lth" else [path]
    several = sources != [path]
    targets = [out / source.name if several else out for source in sources]
    for target in targets:
        write.check(target)
    for source, target in zip(sources, targets, strict=True):
        states = _states(kind, source, chosen)
        flow = measure(states, lambda names: _columns(names, chosen), tell)
        name = f"{path.resolve().name}/{source.name}" if several else path.resolve().name
        write.write(target, flow, chosen.theta, _provenance(kind, path, name, flow, chosen))
    return targets


def _states(kind: str, source: Path, options: Options) -> Iterator[Load]:
    if kind == "torch_prune":
        return state_dicts.pruned_states(source, options.files)
    if kind == "state_dicts":
        return state_dicts.zeroed_states(source, options.files, options.include, options.exclude)
    readers = {
        "open_lth": open_lth.states,
        "cv_lth": cv_lth.states,
        "bert_tickets": bert_tickets.states,
    }
    return readers[kind](source, options.theta)


def _columns(names: tuple[str, ...], options: Options) -> Columns:
    if options.blocks:
        return blocks.by_pattern(names, options.blocks)
    return blocks.by_name(names, options.granularity)


def _check(kind: str, options: Options) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    if options.theta not in THETAS:
        raise ValueError(f"theta must be one of {', '.join(THETAS)}, not {options.theta!r}")
    if options.theta == "rewound" and kind not in _REWOUND:
        raise ValueError(f"theta = rewound: {kind} files hold one set of weights; read as trained")
    if options.files and kind not in ("torch_prune", "state_dicts"):
        raise ValueError(f"files: {kind} knows its file names")
    if (options.include or options.exclude) and kind != "state_dicts":
        raise ValueError(f"include, exclude: in {kind} the masks say what is prunable")


def _provenance(
    kind: str, path: Path, name: str, flow: Flow, options: Options
) -> dict[str, object]:
    """import.toml: what the report shows in place of a configuration."""
    members: dict[str, list[str]] = {column: [] for column in flow.columns.names}
    for tensor, column in flow.columns.column.items():
        members[flow.columns.names[column]].append(tensor)
    return {
        "run": {"name": name},
        "import": {"kind": kind, "path": str(path), "theta": options.theta},
        "blocks": members,
    }
