"""The runs that the experiment "tasks" is made of, each as a recipe of its own.

Invariant: a run's recipe is a function of the whole recipe alone, and complete: the run that it
describes knows nothing of the others. The pre-training is a run without a prune.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any, get_args

from impcore.config.faults import ABSENT, Fault
from impcore.config.tables import Run, Table
from impcore.config.tables.base import Options
from impcore.config.tables.data import FileTextName
from impcore.config.tables.model import TextArch
from impcore.config.tables.tasks import PRETRAINED, RANDOM, Part, Tasks

PRETRAIN = "pretrain"
WEIGHTS = "pretrained.safetensors"
"""The file in the experiment's directory that init.pretrained starts from."""
FOLDER = "pretrained"
"""The folder in its place where the recipe does not say the model's sizes: config.json does."""
_OWN = ("run", "tasks")
_OF_PRETRAINING = ("model", "data", "train")
Document = dict[str, dict[str, Any]]


def documents(tables: Mapping[str, Table]) -> dict[str, Document]:
    """Name -> recipe of every run, in the order in which they are run: the pre-training first."""
    tasks = tables["tasks"]
    assert isinstance(tasks, Tasks)
    made: dict[str, Document] = {}
    if tasks.pretrain is not None:
        alone = {name: tables[name] for name in tables if name not in ("prune", "rewind")}
        made[PRETRAIN] = _document(alone, PRETRAIN, tasks.pretrain)
        made[PRETRAIN] |= {"prune": {"rounds": 0}}
    for task, of_task in tasks.task.items():
        for init, of_init in tasks.init.items():
            name = run_name(init, task)
            if init == PRETRAINED and "path" not in of_init.get("model", {}):
                start, tokenizer = _left_by(made.get(PRETRAIN, {}), tables)
                made[name] = _document(tables, name, start, of_init, of_task)
                _take_tokenizer(made[name], tokenizer)
            else:
                made[name] = _document(tables, name, of_init, of_task)
    return made


def needs_folder(model: Mapping[str, Any]) -> bool:
    """Whether weights of the table [model] need a config.json beside them."""
    return model.get("arch") in get_args(TextArch) and model.get("hidden_size") is None


def _left_by(pretraining: Document, tables: Mapping[str, Table]) -> tuple[Part, str | None]:
    """What makes a run start from a pre-training's weights, and a tokenizer to go with them."""
    model, data = pretraining.get("model", {}), pretraining.get("data", {})
    if not needs_folder(model):
        return {"model": {"path": _place(tables, WEIGHTS)}}, None
    start = {"model": {"path": _place(tables, FOLDER)}}
    return start, data.get("tokenizer", model.get("path"))


def _take_tokenizer(run: Document, tokenizer: str | None) -> None:
    """Name it in `run`, if that needs one and has none; there is none beside the weights."""
    data = run.get("data", {})
    if tokenizer is not None and data.get("name") in get_args(FileTextName):
        data.setdefault("tokenizer", tokenizer)


def run_name(init: str, task: str) -> str:
    """The name of the run of a task from an initialisation, and of its directory."""
    return f"{init}-{task}"


def broken_tasks(tasks: Tasks, model: Mapping[str, Any]) -> Iterator[Fault]:
    """What the table's entries demand of each other."""
    if model.get("path") is not None:
        hint = "belongs to an initialisation: tasks.init.NAME.model.path"
        yield Fault("model.path", model["path"], f'with run.experiment = "tasks", {hint}')
    entries = {f"tasks.init.{name}": part for name, part in tasks.init.items()}
    entries |= {f"tasks.task.{name}": part for name, part in tasks.task.items()}
    for key, part in {**entries, "tasks.pretrain": tasks.pretrain or {}}.items():
        for table in part:
            if table in _OWN:
                yield Fault(f"{key}.{table}", ABSENT, f"[{table}] is the whole experiment's")
    for table in tasks.pretrain or {}:
        if table not in (*_OF_PRETRAINING, *_OWN):
            valid = ", ".join(_OF_PRETRAINING)
            yield Fault(f"tasks.pretrain.{table}", ABSENT, f"pre-training has only {valid}")
    yield from _broken_inits(tasks)
    yield from _clashes(tasks)


def _broken_inits(tasks: Tasks) -> Iterator[Fault]:
    for name, part in tasks.init.items():
        own = "path" in part.get("model", {})
        key = f"tasks.init.{name}"
        if name == RANDOM and own:
            yield Fault(f"{key}.model.path", part["model"]["path"], "random starts from no weights")
        if name == PRETRAINED and own == (tasks.pretrain is not None):
            either = "should have tasks.pretrain or a model.path, and not both"
            yield Fault(key, ABSENT, either)
        if name not in (RANDOM, PRETRAINED) and not own:
            yield Fault(f"{key}.model.path", ABSENT, "missing: the weights that it starts from")
    if tasks.pretrain is not None and PRETRAINED not in tasks.init:
        yield Fault("tasks.pretrain", ABSENT, "is used by nothing without tasks.init.pretrained")


def _clashes(tasks: Tasks) -> Iterator[Fault]:
    """Keys that task and initialisation both set, and pairs whose runs would share a name."""
    seen: dict[str, tuple[str, str]] = {}
    for task, of_task in tasks.task.items():
        for init, of_init in tasks.init.items():
            for table, keys in of_init.items():
                for key in sorted(set(keys) & set(of_task.get(table, {}))):
                    both = f"tasks.init.{init} and tasks.task.{task} both set it"
                    yield Fault(f"{table}.{key}", of_task[table][key], both)
            pair = seen.setdefault(run_name(init, task), (init, task))
            if pair != (init, task):
                other = run_name(*pair)
                yield Fault(f"tasks.task.{task}", ABSENT, f"two runs would be called {other!r}")


def _document(tables: Mapping[str, Table], name: str, *parts: Part) -> Document:
    """The whole recipe's tables with `parts` put over them, as the run `name` within its own."""
    made: Document = {
        table: keys.model_dump(exclude_none=True)
        for table, keys in tables.items()
        if table not in _OWN
    }
    for part in parts:
        for table, keys in part.items():
            options = getattr(tables.get(table), "OPTIONS", {})
            made[table] = _put_over(made.get(table, {}), keys, options)
    run = tables["run"].model_dump()
    made["run"] = {**run, "name": name, "out": _place(tables, name), "experiment": "imp"}
    return made


def _put_over(base: dict[str, Any], keys: dict[str, Any], options: Options) -> dict[str, Any]:
    """`base` with `keys` put over it. A key of it that belongs to a choice goes with that choice.

    Where the new choice takes that key too, its value stays, unless it was only the old default.
    """
    kept = dict(base)
    for key, choices in options.items():
        old, new = base.get(key), keys.get(key, base.get(key))
        if old == new or not (isinstance(old, str) and isinstance(new, str)):
            continue
        taken = choices.get(new, {})
        for option, default in choices.get(old, {}).items():
            if option not in taken or kept.get(option) == default:
                kept.pop(option, None)
    return {**kept, **keys}


def _place(tables: Mapping[str, Table], name: str) -> str:
    """The path of a file or directory of the experiment."""
    run = tables["run"]
    assert isinstance(run, Run)
    return str(PurePath(run.out) / name)
