from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from imp_harness import rows
from rich.console import Console
from safetensors.torch import load_file

from impcore import models
from impcore.config import Config
from impcore.errors import ConfigError
from impcore.imp import checks, lab, run, training
from impcore.imp.checks import estimate
from impcore.imp.ticket import Ticket

pytest.importorskip("transformers")
SIZES = {"hidden_size": 16, "layers": 2, "heads": 2, "intermediate_size": 24, "positions": 48}
CONTEXT = "The big red house was far. A dog sat on the mat, and the cat ran."


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer, a BERT of its size, and two tasks in the official formats."""
    from transformers import PreTrainedTokenizerFast

    from impcore.data.text import vocabulary

    root = tmp_path_factory.mktemp("text")
    words = vocabulary.train([CONTEXT] * 5, 120)
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), vocabulary.SPECIAL, strict=True))
    PreTrainedTokenizerFast(
        tokenizer_object=words.tokenizer, **{f"{key}_token": name for key, name in names.items()}
    ).save_pretrained(root / "bert")
    torch.manual_seed(7)
    facts = {"task": "mlm", "num_classes": 1, "vocab_size": words.size}
    models.build_text("bert", **facts, **SIZES).save_pretrained(root / "bert")
    (root / "RTE").mkdir()
    for name, count in (("train", 40), ("dev", 12)):
        label = ("entailment", "not_entailment")
        lines = [f"{n}\tthe cat sat\ta {'dog ' * (n % 5)}ran\t{label[n % 2]}" for n in range(count)]
        text = "\n".join(["index\tsentence1\tsentence2\tlabel", *lines])
        (root / "RTE" / f"{name}.tsv").write_text(text)
    asked = [("Who sat?", "A dog"), ("Who ran?", "the cat"), ("Where?", "the mat")] * 5
    entries = [
        {
            "id": str(n),
            "question": question,
            "answers": [{"text": answer, "answer_start": CONTEXT.find(answer)}],
        }
        for n, (question, answer) in enumerate(asked)
    ]
    document = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": entries}]}]}
    for name in ("train", "dev"):
        (root / f"{name}-v1.1.json").write_text(json.dumps(document))
        (root / f"wiki.{'valid' if name == 'dev' else name}.raw").write_text(f"{CONTEXT}\n" * 9)
    return root


@pytest.fixture
def make(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Config]:
    """A recipe: BERT on `name`, 2 prunes of 10 % of the original, 4 steps each."""
    monkeypatch.setenv("IMPCORE_CACHE", str(tmp_path / "cache"))

    def config(name: str, **changes: dict[str, Any]) -> Config:
        tables: dict[str, dict[str, Any]] = {
            "run": {"out": str(tmp_path / "run"), "threads": 1, "device": "cpu"},
            "model": {"arch": "bert", "path": str(files / "bert")},
            "data": {"name": name, "root": str(files)},
            "train": {
                "length": "4it",
                "batch_size": 8,
                "eval_batch_size": 16,
                "optimizer": "adamw",
                "lr": 1e-3,
                "weight_decay": 0.0,
                "schedule": "linear",
                "clip_norm": 1.0,
                "checkpoint_every": "1it",
            },
            "prune": {"rounds": 2, "rate": 0.1, "schedule": "linear"},
            "rewind": {"to": "pretrained"},
        }
        for table, keys in changes.items():
            tables[table] |= keys
        return Config.from_dict(tables)

    return config


def timeless(out: Path) -> list[dict[str, Any]]:
    return [{key: v for key, v in row.items() if key != "seconds"} for row in rows(out)]


def finish(config: Config) -> list[dict[str, Any]]:
    assert run(config) == 0
    return timeless(Path(config.run.out))


@pytest.mark.parametrize(
    ("name", "data", "metrics"),
    [
        ("rte", {}, None),
        ("squad", {"max_length": 24, "doc_stride": 8}, ["f1", "exact_match", "accuracy"]),
        ("wikitext", {"max_length": 16}, ["accuracy", "perplexity"]),
    ],
)
def test_a_task_from_pretrained_weights_to_its_report(
    make: Callable[..., Config], name: str, data: dict[str, int], metrics: list[str] | None
) -> None:
    config = make(name, data=data)
    found = finish(config)
    total = 2 * (4 * 16 * 16 + 2 * 16 * 24) + 16 * 16
    assert [row["remaining"] for row in found] == [total, round(total * 0.9), round(total * 0.8)]
    assert all(0 <= row["accuracy"] <= 1 for row in found)
    assert list(found[0].get("metrics", {})) == (metrics or [])
    made = lab.build(config)
    assert list(made.flow.names) == ["layer.0", "layer.1", "rest"]
    # Rewound to the pre-trained weights: the ticket's weights are those of the file.
    ticket = Ticket.load(Path(config.run.out) / "tickets" / "round_02.safetensors")
    for parameter, weight in made.model.state_dict().items():
        assert torch.equal(ticket.rewind[parameter], weight), parameter


def test_a_head_that_is_kept_goes_on_from_round_to_round(make: Callable[..., Config]) -> None:
    config = make("rte", rewind={"head": "keep"})
    finish(config)
    start = lab.build(config).model.state_dict()
    heads = []
    for number in range(3):
        path = Path(config.run.out) / "tickets" / f"round_{number:02d}.safetensors"
        weights = Ticket.load(path).rewind
        heads.append(weights["classifier.weight"])
        for name, weight in weights.items():
            if not name.startswith("classifier."):
                assert torch.equal(weight, start[name]), name
    assert torch.equal(heads[0], start["classifier.weight"])
    assert not torch.equal(heads[1], heads[0])
    assert not torch.equal(heads[2], heads[1])


@pytest.mark.parametrize("name", ["rte", "wikitext"])
def test_stopped_anywhere_it_ends_in_the_same_rows(
    make: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    data = {"max_length": 16}
    whole = finish(make(name, data=data))
    original = training.steps
    stops = iter((2, 5, 1))

    def steps(*args: Any, **kwargs: Any) -> Iterator[Any]:
        left = next(stops, None)
        for number, step in enumerate(original(*args, **kwargs)):
            if number == left:
                signal.raise_signal(signal.SIGTERM)
            yield step

    monkeypatch.setattr(training, "steps", steps)
    again = make(name, data=data, run={"out": str(tmp_path / "again")})
    codes = []
    while not codes or codes[-1] != 0:
        codes.append(run(again))
    assert 143 in codes
    assert [
        {k: v for k, v in r.items() if k != "seconds"} for r in rows(tmp_path / "again")
    ] == whole


def test_sizes_make_a_fresh_model_that_may_take_a_file_of_weights(
    make: Callable[..., Config], files: Path
) -> None:
    sizes = {"path": None, **SIZES}
    tokenizer = {"tokenizer": str(files / "bert")}
    fresh = lab.build(make("rte", model=sizes, data=tokenizer, rewind={"to": "init"}))
    assert fresh.weights is None
    given = sizes | {"path": str(files / "bert" / "model.safetensors")}
    taken = lab.build(make("rte", model=given, data=tokenizer))
    assert taken.weights is not None
    assert taken.weights.left == ("classifier.weight", "classifier.bias")
    name = "bert.encoder.layer.0.output.dense.weight"
    assert not torch.equal(fresh.model.state_dict()[name], taken.model.state_dict()[name])
    assert torch.equal(
        taken.model.state_dict()[name], lab.build(make("rte")).model.state_dict()[name]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"max_length": 64, "tokenizer": "BERT"},
          "model": {"path": None, **SIZES, "positions": 8}},
         r"data\.max_length: rows of 1\d tokens, .* the model has 8 positions"),
        ({"model": {"path": "./nothing"}, "data": {"tokenizer": "BERT"}},
         r"model\.path: \./nothing: is not a directory"),
        ({"model": {"path": "/nothing.safetensors", **SIZES}, "data": {"tokenizer": "BERT"}},
         r"model\.path: .*nothing"),
        ({"model": {"path": "./nothing"}}, r"model\.path: tokenizer: './nothing' is not a dir"),
        ({"data": {"tokenizer": "./nothing"}}, r"data\.tokenizer: tokenizer: './nothing' is not"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_by_its_key(
    make: Callable[..., Config], files: Path, changes: dict[str, Any], message: str
) -> None:
    if changes.get("data", {}).get("tokenizer") == "BERT":
        changes["data"]["tokenizer"] = str(files / "bert")
    with pytest.raises(ConfigError, match=message):
        lab.build(make("rte", **changes, rewind={"to": "init"}))


def checked(config: Config) -> tuple[int, str]:
    with open(os.devnull, "w") as nowhere:
        console = Console(width=10_000, record=True, file=nowhere)
        return checks.check(config, console), console.export_text()


def test_a_check_makes_tokens_and_keeps_none(
    make: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "_STEPS", 2)
    code, text = checked(make("rte"))
    assert code == 0
    assert "rte: 40 training and 12 test rows" in text
    assert "left random: classifier.weight, classifier.bias" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "tokenizer", "said"),
    [
        ({"path": "BERT"}, None, ["ok BERT: fits bert, apart from"]),
        ({"path": "./none"}, None, ["fault model.path: tokenizer: './none' is not a directory"]),
        ({"path": "./none"}, "./no", ["fault data.tokenizer: tokenizer: './no' is not a directory",
                                      "fault model.path: ./none: is not a directory"]),
        ({"path": "EMPTY"}, None, ["fault model.path: tokenizer: 'EMPTY'",
                                   "fault model.path: EMPTY: has no config.json"]),
        ({**SIZES}, "BERT", []),
        ({**SIZES}, "./no", ["fault data.tokenizer: tokenizer: './no' is not a directory"]),
        ({"path": "FILE", **SIZES}, "BERT", ["ok FILE: fits bert, apart from"]),
        ({"path": "FILE", **SIZES, "hidden_size": 8}, "BERT",
         ["fault model.path: FILE: bert.embeddings.word_embeddings.weight is"]),
        ({"path": "FILE", **SIZES}, "./no",
         ["fault data.tokenizer: tokenizer: './no' is", "ok FILE: 44 tensors, not compared"]),
        ({"path": "no.safetensors", **SIZES}, "./no",
         ["fault data.tokenizer: tokenizer: './no' is",
          "fault model.path: no.safetensors: not a safetensors file"]),
    ],
)  # fmt: skip
def test_a_check_without_data_looks_at_tokenizer_and_weights(
    make: Callable[..., Config],
    files: Path,
    tmp_path: Path,
    model: dict[str, Any],
    tokenizer: str | None,
    said: list[str],
) -> None:
    (tmp_path / "empty").mkdir()
    bert = str(files / "bert")
    places = {"FILE": f"{bert}/model.safetensors", "BERT": bert, "EMPTY": str(tmp_path / "empty")}
    given = {key: places.get(value, value) for key, value in ({"path": None} | model).items()}
    data = {"root": str(tmp_path / "nowhere"), "tokenizer": places.get(tokenizer, tokenizer)}
    code, text = checked(make("rte", model=given, data=data, rewind={"to": "init"}))
    assert code == 2
    for name, place in places.items():
        text = text.replace(place, name)
    lines = [" ".join(line.split()[1:]) for line in text.splitlines()]
    assert "train.tsv" in lines[0]
    assert "warning not checked: steps and times depend on the missing data" in lines
    found = [line for line in lines[1:] if line.startswith(("fault ", "ok ")) and "run" not in line]
    for expected, line in zip(said, found, strict=True):
        assert line.startswith(expected)


def test_a_check_with_data_and_without_tokenizer_looks_at_the_weights(
    make: Callable[..., Config],
) -> None:
    code, text = checked(make("rte", model={"path": "./none"}, data={"tokenizer": "./no"}))
    assert code == 2
    assert "train.tsv" not in text
    assert "data.tokenizer: tokenizer: './no' is not a directory" in text
    assert "model.path: ./none: is not a directory" in text
    assert "2 faults; nothing was written" in text


def test_tasks_take_up_what_masked_language_modelling_learned(
    make: Callable[..., Config], files: Path, tmp_path: Path
) -> None:
    document = make("rte").model_dump(exclude_none=True)
    document["run"]["experiment"] = "tasks"
    document["model"] = {"arch": "bert", **SIZES}
    document["data"] = {"name": "rte", "root": str(files), "tokenizer": str(files / "bert")}
    document["rewind"] = {"to": "init"}
    document["tasks"] = {
        "pretrain": {"data": {"name": "wikitext", "max_length": 16}},
        "task": {
            "entails": {},
            "answers": {"data": {"name": "squad", "max_length": 24, "doc_stride": 8}},
        },
    }
    assert run(Config.from_dict(document)) == 0
    out = tmp_path / "run"
    assert [len(rows(out / name)) for name in ("pretrain", "pretrained-entails")] == [1, 3]
    for task in ("entails", "answers"):
        said = json.loads((out / f"pretrained-{task}" / "weights.json").read_text())
        assert "bert.encoder.layer.0.attention.self.query.weight" in said["taken"]
        assert not any(name.startswith("bert.encoder") for name in said["left"])
        starts = [
            Ticket.load(out / f"{init}-{task}" / "tickets" / "round_00.safetensors").rewind
            for init in ("pretrained", "random")
        ]
        weight = "bert.embeddings.word_embeddings.weight"
        assert not torch.equal(starts[0][weight], starts[1][weight])
    assert "σ of M from pretrained weights" in (out / "report.html").read_text()


def test_a_bert_of_a_folder_goes_through_pretraining_without_its_sizes(
    make: Callable[..., Config], files: Path, tmp_path: Path
) -> None:
    document = make("rte").model_dump(exclude_none=True)
    document["run"]["experiment"] = "tasks"
    folder = str(files / "bert")
    document["model"] = {"arch": "bert"}
    document["tasks"] = {
        "pretrain": {
            "model": {"path": folder},
            "data": {"name": "wikitext", "max_length": 16},
        },
        "init": {"pretrained": {}, "given": {"model": {"path": folder}}},
        "task": {"entails": {}},
    }
    config = Config.from_dict(document)
    with open(os.devnull, "w") as nowhere:
        console = Console(width=10_000, record=True, file=nowhere)
        assert checks.check(config, console) == 0, console.export_text()
    assert not (tmp_path / "run").exists()
    assert run(config) == 0
    out = tmp_path / "run"
    starts = [
        Ticket.load(out / f"{init}-entails" / "tickets" / "round_00.safetensors").rewind
        for init in ("pretrained", "given")
    ]
    learned = load_file(out / "pretrained" / "model.safetensors")
    before = load_file(files / "bert" / "model.safetensors")
    name = "bert.encoder.layer.1.output.dense.weight"
    assert torch.equal(starts[0][name], learned[name])
    assert torch.equal(starts[1][name], before[name])
    assert not torch.equal(learned[name], before[name])
    assert run(config) == 0
