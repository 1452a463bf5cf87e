"""report.html: whole, self-contained, safe, the same every time."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import zipfile
from html.parser import HTMLParser

import numpy as np
import pytest

from impcore import rg
from impcore.errors import RunDirectoryError
from impcore.rg import report
from impcore.rg.report import sections
from impcore.rg.report.subject import subject

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">&"\'$\\frac{'
HTML_TAGS = {"html", "head", "meta", "title", "style", "body", "section", "h1", "h2", "h3", "p"}
HTML_TAGS |= {"dl", "dt", "dd", "div", "table", "thead", "tbody", "tr", "th", "td"}
HTML_TAGS |= {"figure", "figcaption", "sub", "pre"}
SVG_TAGS = {"svg", "defs", "path", "g", "use", "rect", "clippath"}


class Reader(HTMLParser):
    def __init__(self, markup):
        super().__init__(convert_charrefs=True)
        self.tags, self.words, self.script, self.inside = [], [], "", ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "script":
            self.script += data
        else:
            self.words.append(data)

    @property
    def text(self):
        return "".join(self.words)


def read(path):
    return Reader(path.read_text(encoding="utf-8"))


def assert_self_contained(reader):
    tags = [tag for tag, _ in reader.tags]
    assert set(tags) <= HTML_TAGS | SVG_TAGS | {"script"}
    assert tags.count("script") == 1
    assert dict(reader.tags)["script"] == {}
    (policy,) = [
        attributes["content"] for _, attributes in reader.tags if "http-equiv" in attributes
    ]
    allowed = re.fullmatch(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-(.*)'", policy
    )
    digest = hashlib.sha256(reader.script.encode()).digest()
    assert allowed
    assert base64.b64decode(allowed[1]) == digest
    for _, attributes in reader.tags:
        for key, value in attributes.items():
            assert not key.startswith("on")
            assert key not in ("src", "srcset", "action", "href", "data")
            if key == "xlink:href":
                assert value.startswith("#")
            for target in re.findall(r"url\(([^)]*)\)", value or ""):
                assert target.startswith("#")
            assert "//" not in (value or "")


def test_a_report_has_all_its_parts_and_asks_the_network_for_nothing(make_run):
    path = make_run(9)
    assert report.write(path) == path / "report.html"
    reader = read(path / "report.html")
    assert_self_contained(reader)
    style = re.search("<style>(.*?)</style>", (path / "report.html").read_text(), re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    assert sum(tag == "svg" for tag, _ in reader.tags) == 7
    for part in (
        "Eigenvalues",
        "Figures",
        "Rounds",
        "What these numbers are",
        "Configuration",
        "Critical exponent",
    ):
        assert part in reader.text
    for fact in ("16.78 %", "45,449", "95.40 %", 'arch = "resnet20"', "eq. 13", "not over seeds"):
        assert fact in reader.text
    assert np.__version__ in reader.text
    assert "devicecpu" in reader.text  # recorded by every round, so by the run
    assert (path / "sigma.csv").read_bytes().startswith(b"observable,block,round,")


def test_ids_are_unique_in_the_document(make_run):
    path = make_run(4)
    ids = [
        attributes["id"] for _, attributes in read(report.write(path)).tags if "id" in attributes
    ]
    assert ids
    # matplotlib itself repeats no id within a figure; the prefixes keep figures apart
    assert len(ids) == len(set(ids))


def test_the_table_shows_what_eigen_found(make_run):
    path = make_run(9)
    text = read(report.write(path)).text
    result = rg.analyse(rg.load(path))["M"].eigen
    for mean, verdict in zip(result.sigma_mean, result.relevance, strict=True):
        assert f"{mean:+.3f}"[:6].replace("-", "−") in text
        assert verdict in text


def test_hostile_names_are_words_not_markup(make_run):
    path = make_run(
        4, names=(HOSTILE, "b", "rest"), run_name=HOSTILE, extra={"device": HOSTILE, HOSTILE: 1}
    )
    (path / "config.toml").write_text(
        f"# </pre>{HOSTILE}\n[run]\nname = '''{HOSTILE}'''\n", encoding="utf-8"
    )
    reader = read(report.write(path))
    assert_self_contained(reader)
    assert reader.text.count("<script>alert(1)</script>") >= 6


def test_the_same_run_gives_the_same_bytes_in_another_process(make_run):
    path = make_run(5)
    first = report.write(path).read_bytes()
    table = (path / "sigma.csv").read_bytes()
    (path / "report.html").unlink()
    environment = os.environ | {"PYTHONHASHSEED": "12345", "SOURCE_DATE_EPOCH": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "impcore.rg", "report", str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{path / 'report.html'}\n"
    assert (path / "report.html").read_bytes() == first
    assert (path / "sigma.csv").read_bytes() == table


@pytest.mark.parametrize("states", [0, 1])
def test_a_run_too_short_for_sigma_says_so(make_run, states):
    names = ("a", "rest")
    shares = np.full((states, 2), 0.5)
    path = make_run(states, names=names, M=shares, P=shares)
    reader = read(report.write(path))
    assert_self_contained(reader)
    assert f"The run has {states} trained state" in reader.text
    assert "need at least 2" in reader.text


def test_two_states_show_sigma_without_an_uncertainty(make_run):
    text = read(report.write(make_run(2))).text
    assert "σ of M per block. Without bars, because a single step has no SEM" in text
    assert "(1 step)" in text
    assert "marginal" in text
    assert "±" not in text.split("Figures")[0].replace("σ ± SEM", "").replace("mean ± SEM", "")


@pytest.mark.parametrize(
    ("names", "M", "said"),
    [
        (("a", "b"), [[0.5, 0.5], [1, 0], [1, 0]], "without averages: b at round 1"),
        (("a", "b"), [[1, 0], [0, 1], [0.5, 0.5]], "Every block collapses"),
        (("a", "b"), [[0.5, 0.5], [1, 0], [0.5, 0.5]], "b at round 1, back at round 2."),
        (("a", "b"), [[0.5, 0.5], [1, 0], [0.5, 0.5]], "is up to 5.0e-01 from 1: b came back"),
        (("a", "b"), [[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]], "the masks are not nested"),
        (("all",), [[1], [1], [1]], "marginal"),
        (("rest",), [[1], [1], [1]], "marginal"),
        (("a", "rest"), [[0.5, 0.5], [0.6, 0.4], [0.7, 0.3]], "exactly"),
    ],
)
def test_odd_flows_get_an_honest_report(make_run, names, M, said):
    shares = np.array(M, dtype=np.float64)
    path = make_run(3, names=names, M=shares, P=shares)
    reader = read(report.write(path))
    assert_self_contained(reader)
    assert said in reader.text


def test_the_report_says_which_rounds_its_sigma_is_of(make_run):
    run = rg.load(make_run(5))
    assert not sections.rounds_in_use([subject(run, report.Options())])
    for rounds, said in ((slice(1, 4), "1 to 3."), ([0, 2, 3], "0, 2, 3.")):
        one = subject(run, report.Options(rounds=rounds))
        assert f"σ is of some of the rounds alone: {said}" in sections.rounds_in_use([one])


def test_masks_that_are_not_nested_are_warned_of(make_run):
    shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.5, 0.5]])
    run = rg.load(make_run(3, names=("a", "b"), P=shares))
    one = subject(run, report.Options(), label="x")
    words = "σ of P is above 1 for b after round 0: the masks are not nested."
    assert f">{words}<" in sections.nesting(one)
    assert f">x: {words}<" in sections.nesting(one, named=True)
    assert not sections.nesting(subject(rg.load(make_run(9)), report.Options()))


def test_odd_rounds_get_a_report(make_run):
    path = make_run(3, counts=np.array([10, 10, 10]), extra={"loss": None, "accuracy": 0})
    text = read(report.write(path)).text
    assert "Round 0 and round 1 have 10 and 10 remaining weights" in text
    assert "not finite" in text
    (path / "config.toml").write_text('[import]\nkind = "cv_lth"\n')
    assert "not finite" not in read(report.write(path)).text  # it was not recorded
    nothing = make_run(2, counts=np.array([10, 0]))
    assert "No weight remains" in read(report.write(nothing)).text


def test_a_run_that_was_resumed_by_force_says_so(make_run):
    assert "not bit-exact" not in read(report.write(make_run(2, extra={"bit_exact": True}))).text
    text = read(report.write(make_run(2, extra={"bit_exact": False}))).text
    assert "From round 0 on, resumed by force" in text


def test_nothing_is_replaced_when_the_run_is_broken(make_run):
    path = make_run(3)
    report.write(path)
    before = [(path / name).read_bytes() for name in ("sigma.csv", "report.html")]
    with open(path / "rounds.jsonl", "a", encoding="utf-8") as file:
        file.write('{"round": 3, "densi')
    with pytest.raises(RunDirectoryError, match=r"rounds\.jsonl:4"):
        report.write(path)
    assert [(path / name).read_bytes() for name in ("sigma.csv", "report.html")] == before


NAMES = (HOSTILE, "../../../outside/x", "a\\q", "a b", "x" * 300, "été")


def test_observables_of_any_name_stay_names(make_run, tmp_path):
    path = make_run(4)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    with np.load(path / "flow.npz") as archive:
        arrays = dict(archive)
    strange = {f"observable_{name}": n + arrays["M"] for n, name in enumerate(NAMES, 1)}
    # A stranger's zip file may hold a name that np.savez would not write.
    with zipfile.ZipFile(path / "flow.npz", "w") as file:
        for key, array in (arrays | strange).items():
            with file.open(f"{key}.npy", "w") as member:
                np.lib.format.write_array(member, array)
    before = set(tmp_path.rglob("*"))
    out = tmp_path / "deep" / "er" / "out"
    reader = read(report.write(path, out=out, files=True))
    assert_self_contained(reader)
    assert [name for name in NAMES if name not in reader.text] == []
    made = {p.relative_to(out) for p in set(tmp_path.rglob("*")) - before if p != out}
    pictures = {p.stem.partition("-")[2] for p in made if p.suffix == ".pdf"}
    assert pictures >= {f"observable-{2 + n}" for n in range(len(NAMES))}
    assert all(p.parts[0] in ("figures", "report.html", "sigma.csv") for p in made)
