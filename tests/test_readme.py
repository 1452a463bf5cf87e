from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import impcore
from impcore.config.load import find, load

README = Path(__file__).parents[1] / "README.md"


def test_its_python_runs_as_written(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    torch.manual_seed(0)
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert len(blocks) == 2
    masks = names["masks"]
    assert isinstance(masks, impcore.Masks)
    assert masks.density == pytest.approx(0.8**5, abs=1e-4)
    assert "stage1" in capsys.readouterr().out


def test_its_recipes_are_shipped_with_the_keys_that_it_sets() -> None:
    commands = re.findall(
        r"^ +(?:impcore-run|torchrun) .*", README.read_text("utf-8"), re.MULTILINE
    )
    named = [found[0] for found in (re.search(r"\w+\.toml", line) for line in commands) if found]
    assert len(named) >= 8
    for name in named:
        assert find(name).is_file()
    keys = {key for line in commands for key in re.findall(r"--(\w+\.\w+)", line)}
    assert keys <= set(load("digits").flat())
