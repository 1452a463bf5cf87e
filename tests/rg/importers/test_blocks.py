"""Blocks by the names of known models."""

from __future__ import annotations

import pytest

from impcore.rg.importers.blocks import by_name, by_pattern


def taken(columns):
    return {name: columns.names[i] for name, i in columns.column.items()}


@pytest.mark.parametrize(
    ("names", "stage", "block"),
    [
        (
            ["model.layer1.0.conv1.weight", "layer4.2.downsample.0.weight", "fc.weight"],
            ["stage1", "stage4", "rest"],
            ["layer1.0", "layer4.2", "rest"],
        ),
        (
            [f"blocks.{i}.conv1.weight" for i in range(6)] + ["fc.weight"],
            ["stage1", "stage1", "stage2", "stage2", "stage3", "stage3", "rest"],
            ["layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer3.1", "rest"],
        ),
        (
            ["bert.encoder.layer.0.output.dense.weight", "bert.encoder.layer.11.x.weight"],
            ["layer.0", "layer.11"],
            ["layer.0", "layer.11"],
        ),
        (["fc1.weight", "fc2.weight"], ["fc1", "fc2"], ["fc1", "fc2"]),
        (
            ["blocks.0.weight", "blocks.1.weight"],
            ["blocks.0", "blocks.1"],
            ["blocks.0", "blocks.1"],
        ),
    ],
)
def test_known_names(names, stage, block):
    for granularity, expected in (("stage", stage), ("block", block)):
        assert list(taken(by_name(names, granularity)).values()) == expected


def test_rest_is_the_last_column_and_only_where_something_is_left():
    names = ["fc.weight", "layer1.0.weight"]
    assert by_name(names, "stage").names == ("stage1", "rest")
    assert by_name(names[1:], "stage").names == ("stage1",)
    assert by_pattern(names, {"a": ["fc.*"]}).names == ("a", "rest")
    assert by_pattern(names, {"a": ["fc.*"], "b": ["l*"]}).names == ("a", "b")


def test_patterns_are_shell_patterns_of_whole_names_and_tell_case():
    with pytest.raises(ValueError, match=r"'FC\.\*' matches none"):
        by_pattern(["fc.weight"], {"a": ["FC.*"]})


def test_blocks_of_known_models_are_in_the_order_of_their_numbers():
    layers = sorted(f"bert.encoder.layer.{i}.x.weight" for i in range(12))
    found = by_name(["bert.pooler.dense.weight", *layers], "stage")
    assert found.names == (*(f"layer.{i}" for i in range(12)), "rest")
    assert found.names[found.column["bert.encoder.layer.10.x.weight"]] == "layer.10"
    deep = sorted(f"layer{s}.{b}.conv1.weight" for s in (1, 3) for b in range(23))
    assert by_name(deep, "block").names[9:12] == ("layer1.9", "layer1.10", "layer1.11")
    assert by_name(["b.10.weight", "b.9.weight"], "stage").names == ("b.10", "b.9")
