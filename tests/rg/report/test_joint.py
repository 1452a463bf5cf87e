"""One report of several runs: tables, figures, files, grouping."""

from __future__ import annotations

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from impcore import rg
from impcore.errors import RunDirectoryError
from impcore.rg import report
from impcore.rg.__main__ import main
from impcore.rg.report import joint
from impcore.rg.report.subject import Options, groups, subjects
from impcore.rg.scaling import curve

from ..conftest import geometric_counts, rewrite, write_flow, write_rounds
from .test_report import HOSTILE, assert_self_contained, read

STAGES = ("stage1", "stage2", "stage3", "stage4")


def make(path, slopes, *, names=STAGES, seed=0, data="cifar10", states=12, accuracy=True):
    """A run whose σ are nearly `slopes`, with the error of eq. 15."""
    path.mkdir(parents=True)
    counts = geometric_counts(states)
    density = counts / counts[0]
    rng = np.random.default_rng(seed)
    noise = np.cumsum(rng.normal(0, 0.004, (states, len(names))), axis=0)
    raw = density[:, None] ** -np.array(slopes) * np.exp(noise)
    shares = raw / raw.sum(axis=1, keepdims=True)
    write_flow(path, M=shares, P=shares, names=np.array(names), remaining=counts,
               theta=np.array("trained"))  # fmt: skip
    if accuracy:
        write_rounds(path, counts)
        error = curve(density, 0.06, 0.5, -0.6, 0.3) * (1 + 0.01 * rng.normal(size=states))
        lines = (path / "rounds.jsonl").read_text().splitlines()
        lines = [re.sub('"accuracy": [^,]*', f'"accuracy": {1 - e}', line)
                 for line, e in zip(lines, error, strict=True)]  # fmt: skip
        (path / "rounds.jsonl").write_text("\n".join(lines) + "\n")
    config = f'[run]\nname = "{path.name}"\nseed = {seed}\n[data]\nname = "{data}"\n'
    (path / "config.toml").write_text(config)
    return path


@pytest.fixture
def runs(tmp_path):
    made = [make(tmp_path / f"ten-seed{s}", [0.2, 0.1, 0, -0.2], seed=s) for s in range(3)]
    made += [make(tmp_path / "hundred", [0.1, 0.2, 0, -0.1], seed=9, data="cifar100")]
    return made


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_one_report_holds_everything_and_leaves_the_runs_alone(runs, tmp_path, capsys):
    before = {path: sorted(path.iterdir()) for path in runs}
    out = tmp_path / "out"
    arguments = ["report", *map(str, runs), "--out", str(out)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"
    assert {path: sorted(path.iterdir()) for path in runs} == before
    reader = read(out / "report.html")
    assert_self_contained(reader)
    sections = ("4 runs of 2 experiments", "Over seeds", "Similarity", "Critical exponents")
    rows = ("Table 2: PT CIFAR-100", "ten (mean of 3 seeds)", "Table 7 of Redman")
    for part in (*sections, *rows):
        assert part in reader.text
    labels = {a["aria-label"] for tag, a in reader.tags if tag == "svg"}
    assert {"Test accuracy against density", "Heat map: σ of M by run and block"} <= labels
    assert any(label.startswith("Dendrogram") for label in labels)
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))


def test_tidy_files_hold_what_the_functions_say(runs, tmp_path):
    out = tmp_path / "out"
    report.write_joint([(None, path) for path in runs], out)
    analyses = {path.name: rg.analyse(rg.load(path))["M"].eigen for path in runs}
    for row in rows_of(out / "distances.csv"):
        if row["first"] in analyses and row["second"] in analyses:
            d = rg.distance(analyses[row["first"]], analyses[row["second"]])
            assert float(row["distance"]) == d.value
            assert float(row["p_same"]) == d.p_same
    sigma = rows_of(out / "sigma.csv")
    assert len(sigma) == 4 * 2 * 4 * 11
    for row in sigma[:: 4 * 11]:
        if row["observable"] == "M":
            index = STAGES.index(row["block"])
            assert float(row["sigma_mean"]) == analyses[row["run"]].sigma_mean[index]
    exponents = rows_of(out / "exponents.csv")
    assert [row["run"] for row in exponents] == [path.name for path in runs]
    assert [row["group"] for row in exponents] == ["ten"] * 3 + ["hundred"]
    for row in exponents:
        assert float(row["gamma_abs_low"]) < float(row["gamma_abs"]) < float(row["gamma_abs_high"])
    assert len(rows_of(out / "rounds.csv")) == 4 * 12


def test_no_run_is_compared_with_a_mean_that_it_is_in(runs, tmp_path):
    report.write_joint([(None, path) for path in runs], tmp_path / "out")
    mean = "ten (mean of 3 seeds)"
    pairs = {(row["first"], row["second"]) for row in rows_of(tmp_path / "out" / "distances.csv")}
    assert {first for first, second in pairs if second == mean} == {"hundred"}
    assert (mean, "Table 2: CIFAR-10") in pairs


def test_figures_are_files_too_with_their_data(runs, tmp_path):
    out = tmp_path / "out"
    report.write_joint([(None, path) for path in runs[2:]], out, files=True)
    names = {path.stem for path in (out / "figures").iterdir()}
    assert names >= {"accuracy", "projection", "exponents", "heat-map", "dendrogram", "flow-M-0"}
    for name in names:
        assert (out / "figures" / f"{name}.svg").read_text().startswith("<?xml")
        assert (out / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert rows_of(out / "figures" / f"{name}.csv")
    shown = rows_of(out / "figures" / "accuracy.csv")
    run = rg.load(runs[2])
    assert [float(row["accuracy"]) for row in shown[:12]] == run.accuracy.tolist()
    assert not (runs[2] / "report.html").exists()


def test_the_same_runs_give_the_same_bytes(runs, tmp_path):
    made = [tmp_path / "a", tmp_path / "b"]
    for out in made:
        report.write_joint([(None, path) for path in runs[2:]], out)
        report.write(runs[0], out=out / "single", files=True)
    files = [sorted(p.relative_to(out) for p in out.rglob("*.*")) for out in made]
    assert files[0] == files[1]
    for name in files[0]:
        assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes()


def test_labels_group_runs_and_repeated_names_are_numbered(runs, tmp_path, capsys):
    copy = tmp_path / "elsewhere" / "hundred"
    shutil.copytree(runs[3], copy)
    arguments = [f"mine={runs[0]}", f"mine={runs[3]}", str(copy)]
    assert main(["report", *arguments, "--out", str(tmp_path / "out")]) == 0
    rows = rows_of(tmp_path / "out" / "exponents.csv")
    assert [(row["run"], row["group"]) for row in rows] == [
        ("ten-seed0", "mine"), ("hundred", "mine"), ("hundred (2)", "hundred (2)"),
    ]  # fmt: skip
    text = read(tmp_path / "out" / "report.html").text
    assert "mine (mean of 2 seeds)" in text
    assert all(str(path) in text for path in (runs[3], copy))  # or nobody knew which is (2)


def test_a_collapsed_block_is_named(runs, tmp_path):
    with np.load(runs[0] / "flow.npz") as flow:
        shares = flow["M"].copy()
    shares[5:, 2] = 0
    rewrite(runs[0], M=shares / shares.sum(axis=1, keepdims=True))
    report.write_joint([(None, path) for path in runs], tmp_path / "out")
    text = read(tmp_path / "out" / "report.html").text
    assert (
        "Without any weight or magnitude in ten-seed0, and so without averages: stage3 at" in text
    )
    assert text.count("Without any weight") == 1
    assert "directory" not in text  # the labels say it


def test_runs_of_different_blocks_stand_in_tables_of_their_own(tmp_path):
    blocks = tuple(f"layer{s}.{b}" for s in (1, 2, 3) for b in range(5))
    deep = make(tmp_path / "resnet32", np.linspace(0.2, -0.2, 15), names=blocks)
    wide = make(tmp_path / "resnet50", [0.2, 0.1, 0, -0.2])
    report.write_joint([(None, deep), (None, wide)], tmp_path / "out")
    text = read(tmp_path / "out" / "report.html").text
    for stage, number in ((1, 4), (2, 5), (3, 6)):
        assert f"normal blocks of stage {stage}, beside Table {number}" in text
    assert "Table 4: ResNet-32" in text
    assert "Table 4: ResNet-20" not in text
    assert "Table 2: CIFAR-10" in text


def test_options_reach_the_numbers(runs, tmp_path):
    out = str(tmp_path / "out")
    options = ["--estimator", "endpoints", "--rounds", "2:8", "--level", "0.9", "--eps-np",
               "measured", "--deviation", "absolute", "--beside", "3"]  # fmt: skip
    assert main(["report", str(runs[0]), str(runs[1]), "--out", out, *options]) == 0
    first = rows_of(tmp_path / "out" / "sigma.csv")[0]
    run = rg.load(runs[0])
    result = rg.eigen(run.M, run.remaining, estimator="endpoints", rounds=range(2, 9), level=0.9)
    assert first["round"] == "2"
    assert first["estimator"] == "endpoints"
    assert float(first["sigma_low"]) == result.sigma_low[0]
    fit = rg.exponents.fit(
        run.density, 1 - run.accuracy, eps_np="measured", deviation="absolute", level=0.9
    )
    row = rows_of(tmp_path / "out" / "exponents.csv")[0]
    assert float(row["gamma_abs"]) == fit.gamma
    text = read(tmp_path / "out" / "report.html").text
    assert "σ is of some of the rounds alone: 2 to 8." in text
    assert "Table 3 of Redman" in text
    assert "Table 2" not in text.split("What these numbers are")[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "5"], "rounds must be FIRST:LAST, such as 2:10, not '5'"),
        (["--rounds", "11:"], "rounds must pick 2 or more of the 12 states"),
        (["--level", "2"], "level must be a number between 0 and 1"),
        (["--eps-np", "7"], 'eps_np must be "free", "measured" or a number in (0, 1], not 7.0'),
    ],
)
def test_wrong_options_are_named(runs, tmp_path, capsys, options, message):
    out = tmp_path / "out"
    assert main(["report", str(runs[0]), str(runs[1]), "--out", str(out), *options]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_broken_run_stops_a_joint_report_before_anything_is_written(runs, tmp_path):
    (runs[2] / "flow.npz").write_bytes(b"x")
    with pytest.raises(RunDirectoryError, match=r"ten-seed2/flow\.npz"):
        report.write_joint([(None, path) for path in runs], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_odd_runs_are_named_not_dropped(runs, tmp_path):
    short = make(tmp_path / "short", [0, 0, 0, 0], states=1)
    silent = make(tmp_path / "silent", [0.1, 0, 0, -0.1], accuracy=False)
    report.write_joint([(None, p) for p in (short, silent, runs[0])], tmp_path / "out")
    reader = read(tmp_path / "out" / "report.html")
    assert_self_contained(reader)
    assert "short: no σ. The run has 1 trained state" in reader.text
    assert "silent: The run has no accuracies." in reader.text
    alone = [(None, short), (None, make(tmp_path / "shorter", [0, 0, 0, 0], states=1))]
    assert report.write_joint(alone, tmp_path / "out2").exists()


def test_a_run_without_the_rounds_in_use_has_no_sigma_and_the_report_says_so(runs, tmp_path):
    short = make(tmp_path / "short", [0, 0, 0, 0], states=6, data="cifar100")
    names = [str(path) for path in (short, *runs[:3])]
    html, files = tmp_path / "out" / "report.html", ["--rounds", "8:", "--figures"]
    assert main(["report", *names, "--out", str(tmp_path / "out"), *files]) == 0
    reader = read(html)
    assert_self_contained(reader)
    said = "short: no σ. Rounds must pick 2 or more of the 6 states in rising order, not []."
    assert said in reader.text
    assert "some of the rounds alone: 8 to 11. Accuracies and eq. 15 are of all" in reader.text
    assert "ten (mean of 3 seeds)" in reader.text
    sigma = rows_of(tmp_path / "out" / "sigma.csv")
    assert {row["run"] for row in sigma} == {path.name for path in runs[:3]}
    assert {row["round"] for row in sigma} == {"8", "9", "10"}
    fits = {row["run"] for row in rows_of(tmp_path / "out" / "exponents.csv")}
    assert fits == {path.name for path in runs[:3]} | {"short"}
    projected = rows_of(tmp_path / "out" / "figures" / "projection.csv")
    assert {row["run"] for row in projected} == {path.name for path in runs[:3]}


def test_rounds_that_no_run_has_are_an_error_that_names_one(runs, tmp_path):
    with pytest.raises(ValueError, match=r"^ten-seed0: rounds must be states from 0 to 11"):
        report.write_joint(
            [(None, path) for path in runs],
            tmp_path / "out",
            options=report.Options(rounds=[0, 12]),
        )
    assert not (tmp_path / "out").exists()


def test_hostile_labels_are_words(runs, tmp_path):
    report.write_joint([(HOSTILE, runs[0]), (HOSTILE, runs[1])], tmp_path / "out")
    assert_self_contained(read(tmp_path / "out" / "report.html"))


def test_a_report_cannot_be_written_into_a_file(runs, tmp_path):
    target = tmp_path / "file"
    target.write_text("")
    with pytest.raises(RunDirectoryError, match="file: could not be made"):
        report.write(runs[0], out=target)
    assert Path(target).read_text() == ""


def test_the_heading_names_the_method_that_all_runs_share(tmp_path):
    paths = [make(tmp_path / name, [0.2, 0.1, 0, -0.2]) for name in ("a", "b")]
    for scores, how in ((("snip", "snip"), "pruning by snip"), (("snip", "grasp"), "several")):
        for path, score in zip(paths, scores, strict=True):
            kept = (path / "config.toml").read_text().partition("[prune]")[0]
            (path / "config.toml").write_text(f'{kept}[prune]\nscore = "{score}"\n')
        made = subjects([(None, rg.load(path)) for path in paths], Options())
        assert how in joint.heading(made, groups(made))


def test_seeds_whose_blocks_differ_have_no_mean_and_the_report_says_why(runs, tmp_path):
    with np.load(runs[1] / "flow.npz") as archive:
        arrays = dict(archive)
    for key in ("M", "P"):
        arrays[key] = np.where(np.arange(12)[:, None] * [0, 1, 0, 0] > 5, 0, arrays[key])
        arrays[key] /= arrays[key].sum(axis=1, keepdims=True)
    np.savez(runs[1] / "flow.npz", **arrays)
    html = report.write_joint([(None, path) for path in runs[:3]], tmp_path / "out")
    text = read(html).text
    assert "3 runs of 1 experiment:" in text
    assert "ten: no mean σ over seeds, which differ in what it is of" in text
    assert "ten-seed1: M of stage1, stage3, stage4" in text


def test_a_mean_counts_the_seeds_that_it_is_over(runs, tmp_path):
    for key in ("flow.npz", "rounds.jsonl"):
        (runs[2] / key).unlink()
    write_flow(runs[2], P=np.full((1, 4), 0.25), M=np.full((1, 4), 0.25), names=np.array(STAGES),
               remaining=geometric_counts(1), theta=np.array("trained"))  # fmt: skip
    html = report.write_joint([(None, path) for path in runs[:3]], tmp_path / "out")
    assert "ten (mean of 2 seeds)" in read(html).text


def test_sigma_of_different_observables_stand_in_tables_of_their_own(runs, tmp_path):
    rewrite(runs[1], M=None)
    rewrite(runs[2], theta=np.array("rewound"))
    out = tmp_path / "out"
    report.write_joint([(None, path) for path in runs], out)
    text = read(out / "report.html").text
    for of in ("M", "P", "M of rewound weights"):
        assert f"σ of {of} by run and block" in text
    assert text.count("Published σ are of M, those of the runs of P.") == 2  # table and heat map
    assert "ten: no mean σ over seeds, which differ" in text
    assert "Not drawn, of other blocks or observables: ten-seed1, ten-seed2." in text
    names = {path.name for path in runs}
    compared = {
        (row["first"], row["second"])
        for row in rows_of(out / "distances.csv")
        if {row["first"], row["second"]} <= names
    }
    assert compared == {("ten-seed0", "hundred")}
    assert {row["observable"] for row in rows_of(out / "distances.csv")} >= {"M", "P"}


def test_a_run_given_twice_is_refused(runs, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(runs[0])
    for again in (runs[0], link):
        with pytest.raises(ValueError, match=r"runs must be different, but .* is given twice"):
            report.write_joint([(None, runs[0]), ("x", again)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_copy_is_no_further_seed_and_the_report_names_it(runs, tmp_path):
    copy = tmp_path / "ten-seed7"
    shutil.copytree(runs[0], copy)
    given = [(None, path) for path in (*runs[:2], copy)]
    text = read(report.write_joint(given, tmp_path / "out")).text
    assert "ten-seed0 (2) has the seed or the flow of ten-seed0: no further seed" in text
    assert "ten (mean of 2 seeds)" in text


def test_an_exponent_at_its_bound_is_starred_and_in_no_mean(runs):
    made = subjects([(None, rg.load(path)) for path in runs[:3]], Options())
    held = ((), (), ("|γ|",))
    made = [replace(one, fit=replace(one.fit, at_bound=at))
            for one, at in zip(made, held, strict=True)]  # fmt: skip
    gamma = rg.formats.signed(made[2].fit.parameters.gamma, 3)
    markup = joint.exponents(made, groups(made))[0]
    assert markup.count("*</td>") == 1
    assert f"<td>{gamma}*</td>" in markup
    assert " (2 of 3)</td>" in markup


def test_runs_whose_blocks_are_in_another_order_are_of_the_same_blocks(runs, tmp_path):
    turned, names = [3, 1, 0, 2], np.array(STAGES)
    with np.load(runs[1] / "flow.npz") as flow:
        shares = {key: flow[key][:, turned] for key in ("M", "P")}
    before, after = tmp_path / "before", tmp_path / "after"
    report.write_joint([(None, path) for path in runs[:2]], before)
    rewrite(runs[1], names=names[turned], **shares)
    report.write_joint([(None, path) for path in runs[:2]], after)
    assert len(list(before.iterdir())) == 5
    for path in before.iterdir():
        assert path.read_bytes() == (after / path.name).read_bytes(), path.name


def test_rest_is_no_block_that_keeps_others_from_being_matched(tmp_path):
    one = make(tmp_path / "a", [0.2, 0.1, -0.2], names=("x", "y", "rest"))
    other = make(tmp_path / "b", [-0.1, 0.1], names=("y", "x"))
    made = subjects([(None, rg.load(path)) for path in (one, other)], Options())
    assert [some.run.names for some in made] == [("x", "y", "rest"), ("x", "y")]
    np.testing.assert_array_equal(made[1].run.M, rg.load(other).M[:, ::-1])
