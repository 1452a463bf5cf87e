"""Writes what the READMEs say of speed from the result files: no number in it is typed by hand.

    python benchmarks/tables.py            rewrites README.md and benchmarks/README.md
    python benchmarks/tables.py --check    exit status 1 if that would change anything

What lies between `<!-- results: NAME -->` and `<!-- end -->` is written here; the rest stays.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import results

ROOT = Path(__file__).parents[1]
Data = dict[str, Any]
TITLES = {
    "mask": "Pruning",
    "sweep": "Pruning, from 1e5 to 1e9 weights",
    "optim": "Masked optimisers",
    "block_l1": "Block sums",
    "round": "A whole round",
    "run": "A run's own share",
    "round_bert_base": "A step and a prune of BERT-base",
}
"""Section of each benchmark, in their order."""

NOT_YET = """\
On GPUs (CUDA C++, built where nvcc is found, or Triton): not yet measured, and not yet run on a
real one. Both backends are tested without a GPU, the CUDA kernels on emulated threads, Triton's by
its interpreter; `make test-gpu` runs what needs one."""


def number(value: float) -> str:
    """Milliseconds, or a ratio, to three digits or so."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def _factor(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.2f}"


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; columns from `left` on are numbers."""
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows)).replace("|  |", "| |")


def times(rows: Sequence[Data]) -> Iterator[str]:
    """A table for each kind of op and set of contenders: milliseconds, and ratios to the first."""
    groups: dict[tuple[str, ...], list[Data]] = {}
    for row in rows:
        if row["ms"]:
            # "prune resnet50" is of a kind; a round and its parts ("training, ...") are of one.
            kind = "" if "," in row["op"] else row["op"].split()[0]
            groups.setdefault((kind, *row["ms"]), []).append(row)
    for group in groups.values():
        yield _times_of(group)


def _times_of(rows: Sequence[Data]) -> str:
    names = list(rows[0]["ms"])
    columns: dict[str, Callable[[Data], str]] = {"": lambda row: str(row["op"])}
    if len({(row["op"], row["n"]) for row in rows}) > len({row["op"] for row in rows}):
        columns["weights"] = lambda row: f"{row['n']:,}"
    if any(row["density"] != 1 for row in rows):
        columns["density"] = lambda row: f"{row['density']:.0%}"

    def cells(row: Data) -> list[str]:
        first = row["ms"][names[0]]
        timed = [number(first)]
        timed += [f"{number(row['ms'][k])} ({_factor(row['ms'][k] / first)})" for k in names[1:]]
        return [*(column(row) for column in columns.values()), *timed]

    return _grid([*columns, *names], [cells(row) for row in rows], len(columns))


def left_out(data: Data) -> str:
    """What was not timed, and why."""
    reasons: dict[str, list[str]] = {}
    for row in data["rows"]:
        for name, why in row.get("left_out", {}).items():
            reasons.setdefault(f"{name}: {why}", []).append(row["op"])
    lines = [f"- {', '.join(dict.fromkeys(ops))}: {what}" for what, ops in reasons.items()]
    lines += [f"- {what}: {why}" for what, why in data.get("left_out", {}).items()]
    return "Left out:\n\n" + "\n".join(lines) if lines else ""


def targets(data: Data) -> str:
    """Each target, its limit and what was measured."""
    found = data.get("targets", [])
    verdicts = {True: "met", False: "**missed**"}
    rows = []
    for target in found:
        sign = "≥" if target["at_least"] else "≤"
        value = "" if target["value"] is None else f"{target['value']:.3g}"
        verdict = verdicts.get(target["passed"], target.get("why") or "not measured")
        rows.append([target["what"], f"{sign} {target['limit']:g}", value, verdict])
    return _grid(["target", "limit", "measured", ""], rows) if rows else ""


def machine(about: Data) -> str:
    """The machine in a line."""
    gpu = [f"{about['gpu']}, CUDA {about['cuda']}"] if "gpu" in about else []
    cpu = [f"{about['cpu']}, {about['threads']} threads, {about['isa']}"] if not gpu else []
    return ", ".join([*gpu, *cpu, f"torch {about['torch']}", str(about["date"])])


def section(data: Data, depth: int = 2) -> str:
    """Everything of one benchmark."""
    about = data["machine"]
    title = TITLES.get(data["benchmark"], data["benchmark"])
    parts = [
        f"{'#' * depth} {title}",
        f"`{about['command']}`: {machine(about)}, commit {about['commit']}.",
        *times(data["rows"]),
        left_out(data),
        targets(data),
    ]
    return "\n\n".join(part for part in parts if part)


def _read() -> tuple[dict[str, Data], list[Data]]:
    """The CPU's result files by benchmark, and the GPUs' files."""
    files = [json.loads(path.read_text()) for path in sorted(results.RESULTS.glob("*.json"))]
    return {d["benchmark"]: d for d in files if "benchmark" in d}, [
        d for d in files if "device" in d
    ]


def _ordered(sections: dict[str, Data]) -> list[Data]:
    known = [sections[name] for name in TITLES if name in sections]
    return [*known, *(data for name, data in sections.items() if name not in TITLES)]


def everything() -> str:
    """All tables, for benchmarks/README.md."""
    cpu, gpus = _read()
    parts = [section(data) for data in _ordered(cpu)]
    for whole in gpus:
        parts.append(f"## {whole['device']}")
        found = {k: v for k, v in whole.items() if isinstance(v, dict)}
        parts += [section(data, 3) for data in _ordered(found)]
    if not gpus:
        parts.append("## GPUs\n\nNot yet measured.")
    return "\n\n".join(parts)


NAMES = {"resnet50": "ResNet-50", "bert-base": "BERT-base", "llama-1b": "1B", "llama-7b": "7B"}


def _network(row: Data) -> str:
    name = row["op"].split()[1]
    return f"{NAMES.get(name, name)}, {row['n'] / 1e6:,.1f}M weights"


def _first_prunes(data: Data) -> list[Data]:
    return [r for r in data["rows"] if r["op"].startswith("prune ") and r["density"] == 1]


def _duration(ms: float) -> str:
    return f"{ms:.3g} ms" if ms < 1000 else f"{ms / 1000:,.1f} s"


def headline() -> str:
    """The README's first words on speed: the largest network's prune, and PyTorch's own."""
    data, theirs = _read()[0]["mask"], "torch.nn.utils.prune"
    row = max((r for r in _first_prunes(data) if theirs in r["ms"]), key=lambda r: r["n"])
    ours = _duration(next(iter(row["ms"].values())))
    return (
        f"One `prune_global` of {_network(row)}, takes {ours} on {data['machine']['threads']} CPU "
        f"threads;\n`{theirs}` takes {_duration(row['ms'][theirs])}."
    )


def cpu() -> str:
    """The README's table of prune_global on the CPU."""
    data = _read()[0]["mask"]
    about = data["machine"]
    rows = _first_prunes(data)
    names = list(rows[0]["ms"])[1:]
    fixed = [name for name in names if name == "floor"]
    theirs = sorted(set(names) - set(fixed), key=lambda name: rows[0]["ms"][name])

    def cells(row: Data) -> list[str]:
        ms = list(row["ms"].values())
        rest = [f"{number(row['ms'][k])} ({_factor(row['ms'][k] / ms[0])}×)" for k in theirs]
        floor = [number(row["ms"][k]) for k in fixed]
        return [_network(row), f"**{number(ms[0])}**", *floor, *rest]

    head = ["ms", "`impcore.prune_global`", *fixed, *(f"`{name}`" for name in theirs)]
    intro = (
        f"One `prune_global` of 20 % of the weights, masks applied, on {about['threads']} CPU "
        f"threads\n(`{about['command']}`; {about['cpu']}, {about['isa']}, torch {about['torch']}, "
        f"{about['date']}):"
    )
    return f"{intro}\n\n{_grid(head, [cells(row) for row in rows])}"


GPU_COLUMNS = {
    "CUDA": "cuda, graph",
    "Triton": "triton, graph",
    "copy rate": "copy rate",
    "`prune_global`, CUDA": "cuda, eager",
    "`torch.topk`": "torch.topk",
    "`torch.sort`": "torch.sort",
    "`torch.nn.utils.prune`": "torch.nn.utils.prune",
}


def gpu() -> str:
    """The README's table of each GPU that was measured."""
    gpus = [whole for whole in _read()[1] if "mask" in whole]
    return "\n\n".join(map(_gpu_table, gpus)) if gpus else NOT_YET


def _gpu_table(whole: Data) -> str:
    data = whole["mask"]
    about = data["machine"]
    rows = _first_prunes(data)

    def cells(row: Data) -> list[str]:
        values = (row["ms"].get(name) for name in GPU_COLUMNS.values())
        return [_network(row), *("–" if value is None else number(value) for value in values)]

    intro = (
        f"The same on one {about['gpu']} (`{about['command']}`; CUDA {about['cuda']}, torch "
        f"{about['torch']}, {about['date']}).\nThe first two columns are replayed graphs of select "
        "and commit; the copy rate is what their bytes\ntake in a large copy; the rest is called "
        "eagerly, Python included:"
    )
    return f"{intro}\n\n{_grid(['ms', *GPU_COLUMNS], [cells(row) for row in rows])}"


BLOCKS: dict[str, Callable[[], str]] = {
    "all": everything,
    "headline": headline,
    "cpu": cpu,
    "gpu": gpu,
}
FILES = (ROOT / "README.md", ROOT / "benchmarks/README.md")
_BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str) -> str:
    """A README with its blocks written anew."""
    return _BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}", text)


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrites, or checks; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args(argv).check
    stale = [path for path in FILES if filled(path.read_text()) != path.read_text()]
    for path in stale:
        if not check:
            path.write_text(filled(path.read_text()))
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
