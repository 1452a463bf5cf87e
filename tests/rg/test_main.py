"""`python -m impcore.rg report`."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys

import pytest

from impcore.rg.__main__ import main


def test_reports_every_run_and_names_the_bad_one(make_run, capsys, tmp_path):
    good = make_run(3)
    other = tmp_path / "other"
    shutil.copytree(good, other)
    bad = tmp_path / "bad"
    bad.mkdir()
    assert main(["report", str(good), str(bad), str(other)]) == 2
    captured = capsys.readouterr()
    assert captured.out == f"{good / 'report.html'}\n{other / 'report.html'}\n"
    assert captured.err == f"error: {bad / 'flow.npz'}: missing\n"
    assert list(bad.iterdir()) == []
    assert main(["report", str(good)]) == 0


def test_what_a_terminal_cannot_show_is_escaped(make_run, monkeypatch, tmp_path):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii", write_through=True))
    run = make_run(3).rename(tmp_path / "Ω")
    assert main(["report", str(run)]) == 0
    assert written.getvalue() == f"{tmp_path}/\\u03a9/report.html\n".encode()


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--help"], 0), (["report", "--help"], 0), ([], 2), (["report"], 2)]
)
def test_usage(arguments, status, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == status
    captured = capsys.readouterr()
    assert "RUN_DIR" in captured.out + captured.err or "COMMAND" in captured.out + captured.err


def test_importing_the_analysis_loads_neither_torch_nor_matplotlib():
    code = (
        "import sys, impcore.rg; from impcore import rg; rg.eigen([[1, 2], [2, 1]], [2, 1]); "
        "import impcore.rg.report; "
        "print([m for m in ('torch', 'matplotlib', 'scipy.stats') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_report_imports_no_torch_and_no_pyplot(make_run):
    code = (
        "import sys; from impcore.rg.__main__ import main; status = main(['report', sys.argv[1]]); "
        "print(status, [m for m in ('torch', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(make_run(3))], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_rounds_that_a_run_does_not_have_leave_the_others_their_reports(make_run, capsys, tmp_path):
    short = make_run(3).rename(tmp_path / "short")
    whole = make_run(9)
    assert main(["report", str(short), str(whole), "--rounds", "3:"]) == 2
    captured = capsys.readouterr()
    assert captured.out == f"{whole / 'report.html'}\n"
    assert (
        captured.err
        == f"error: {short}: rounds must pick 2 or more of the 3 states in rising order, not []\n"
    )


def test_an_eps_np_that_is_none_is_refused_as_one_out_of_range_is(make_run, capsys):
    run = make_run(3)
    for given, quoted in (("abc", "'abc'"), ("3", "3.0")):
        assert main(["report", str(run), "--eps-np", given]) == 2
        assert f'"free", "measured" or a number in (0, 1], not {quoted}' in capsys.readouterr().err
