"""What all importers share: the command, options, targets."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from impcore import output, rg
from impcore.errors import RunDirectoryError
from impcore.rg.__main__ import main
from impcore.rg.importers import Options, import_run

from .conftest import pruned_state_dict


@pytest.fixture
def source(tmp_path, resnet):
    (tmp_path / "run").mkdir()
    for n in range(4):
        torch.save(pruned_state_dict(resnet, n), tmp_path / "run" / f"{n}.pt")
    return tmp_path / "run"


def test_the_command_imports_and_the_report_reads_it(source, tmp_path, capsys):
    out = tmp_path / "out"
    block = ["--block", "early=layer1.*,layer2.*", "--block", "late=layer[34].*"]
    assert main(["import", "torch_prune", str(source), "--out", str(out), *block]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert rg.load(out).names == ("early", "late")
    assert main(["report", str(out)]) == 0
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "torch_prune" in text
    assert "No critical exponent. The run has no accuracies." in text
    assert main(["import", "torch_prune", str(source), "--out", str(out)]) == 0  # again
    assert rg.load(out).names[0] == "stage1"


def test_a_long_import_tells_of_its_states(source, tmp_path, capsys, monkeypatch):
    command = ["import", "torch_prune", str(source), "--out"]
    assert main([*command, str(tmp_path / "a")]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(output, "_PLAIN_SECONDS", 0.0)
    assert main([*command, str(tmp_path / "b")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        f"measuring state {n} of 4" for n in range(1, 5)
    ]


def test_a_directory_that_was_not_imported_is_never_written_to(source, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.toml").write_text("[run]\n")
    before = sorted(out.iterdir())
    assert main(["import", "torch_prune", str(source), "--out", str(out)]) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert sorted(out.iterdir()) == before
    with pytest.raises(RunDirectoryError, match="exists and is not a directory"):
        import_run("torch_prune", source, out / "config.toml")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("pickle", Options(), "kind must be one of open_lth, .* not 'pickle'"),
        ("torch_prune", Options(theta="rewound"), "theta = rewound: torch_prune"),
        ("torch_prune", Options(theta="both"), "theta must be one of trained, rewound"),
        ("cv_lth", Options(files="*.pt"), "files: cv_lth knows its file names"),
        ("torch_prune", Options(include=("a",)), "include, exclude: in torch_prune the masks say"),
        ("torch_prune", Options(blocks={"a": ["nothing*"]}), r"'nothing\*' matches none of"),
        ("torch_prune", Options(blocks={"rest": ["*"]}), "'rest' is the name of what no block"),
        ("torch_prune", Options(blocks={"a": ["*"], "b": ["layer1.*"]}), "is in two blocks"),
        ("torch_prune", Options(granularity="layer"), "granularity must be one of stage, block"),
    ],
)
def test_bad_options_are_named_and_nothing_is_written(source, tmp_path, kind, options, message):
    with pytest.raises(ValueError, match=message):
        import_run(kind, source, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_usage(source, capsys):
    for arguments in (["import", "nonsense", "x", "--out", "y"], ["import", "cv_lth", "x"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    assert main(["import", "torch_prune", str(source), "--out", "y", "--block", "a"]) == 2
    assert "block must be NAME=PATTERN" in capsys.readouterr().err


def test_torch_is_imported_by_a_running_importer_alone():
    code = "import sys, impcore.rg.__main__, impcore.rg.importers; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
