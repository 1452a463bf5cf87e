from __future__ import annotations

from collections.abc import Callable

import pytest

from impcore.config import Config
from impcore.errors import ConfigError

Recipe = Callable[..., dict[str, dict[str, object]]]

SIZES = {"hidden_size": 64, "layers": 2, "heads": 4, "intermediate_size": 128}
BERT = {"arch": "bert", "path": "bert-base-uncased"}
SMALL = {"arch": "bert", **SIZES}

BROKEN = [
    ({"model": BERT}, "model.arch = 'bert'", '"resnet20" would be'),
    ({"data": {"name": "rte"}}, "model.arch = 'resnet20'", '"bert" would be'),
    ({"model": {"layers": 3}}, "model.layers = 3", "resnet20 has its own sizes"),
    ({"data": {"max_length": 64}}, "data.max_length = 64", 'needs data.name = "mnli" or'),
    ({"data": {"source": "hub"}}, "data.source = 'hub'", 'needs data.name = "mnli" or'),
    ({"model": {"arch": "bert"}, "data": {"name": "rte"}}, "model.path: ", "or else the sizes"),
    (
        {"model": {"arch": "bert", "path": "x", "dropout": 0.1}, "data": {"name": "rte"}},
        "model.dropout = 0.1",
        "needs model.hidden_size",
    ),
    (
        {
            "model": {**BERT, "layers": 3, "heads": 1, "hidden_size": 5},
            "data": {"name": "rte", "tokenizer": "t"},
        },
        "model.intermediate_size: ",
        "missing, as other sizes are given",
    ),
    (
        {"model": {**SMALL, "heads": 3}, "data": {"name": "rte", "tokenizer": "t"}},
        "model.heads = 3",
        "should divide model.hidden_size = 64",
    ),
    ({"model": SMALL, "data": {"name": "rte"}}, "data.tokenizer: ", "missing: a model from"),
    (
        {"model": BERT, "data": {"name": "rte", "doc_stride": 9}},
        "data.doc_stride = 9",
        'needs data.name = "squad"',
    ),
    (
        {"model": BERT, "data": {"name": "rte", "augment": "crop"}},
        "data.augment = 'crop'",
        "should be none of rte",
    ),
    ({"model": BERT, "data": {"name": "rte", "validation": 5}}, "data.validation = 5", "be 0"),
    (
        {"model": BERT, "data": {"name": "rte"}, "train": {"channels_last": True}},
        "train.channels_last = true",
        "false for text",
    ),
    (
        {"model": {**BERT, "bn_gamma": "ones"}, "data": {"name": "rte"}},
        "model.bn_gamma = 'ones'",
        "bert has no BatchNorm",
    ),
    (
        {"model": {**BERT, "stem": "imagenet"}, "data": {"name": "rte"}},
        "model.stem = 'imagenet'",
        "bert has no stem",
    ),
]


@pytest.mark.parametrize(("change", "start", "reason"), BROKEN)
def test_a_broken_rule_is_one_line(recipe: Recipe, change: dict, start: str, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_dict(recipe(**change))
    lines = str(caught.value).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(start)
    assert reason in lines[0]


def test_a_model_from_scratch_has_its_defaults_written_out(recipe: Recipe) -> None:
    tables = {"model": SMALL, "data": {"name": "rte", "tokenizer": "t"}}
    config = Config.from_dict(recipe(**tables))
    assert (config.model.positions, config.model.dropout) == (512, 0.1)
    assert config.model.initializer_range == 0.02
    assert "positions = 512" in config.to_toml()
    squad = Config.from_dict(recipe(model=BERT, data={"name": "squad", "doc_stride": 64}))
    assert (squad.model.positions, squad.data.doc_stride, squad.data.max_length) == (None, 64, 384)
    assert (config.data.max_length, config.data.doc_stride) == (128, None)
