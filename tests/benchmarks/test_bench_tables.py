import json

import pytest
import results
import tables
from comparison import Comparison, Report
from targets import Target


def row(op="prune resnet50", density=1.0, n=25_502_912, **ms):
    times = {k.replace("_", ", "): v for k, v in ms.items()} or {"impcore": 12.5, "floor": 10.0}
    return Comparison(op, "float32", n, density, 1e8, "floor", times)


def written(monkeypatch, tmp_path, *files):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    for name, data in files:
        (tmp_path / name).write_text(json.dumps(data))


ABOUT = {
    "cpu": "Xeon", "threads": 2, "isa": "avx2", "torch": "2.13", "date": "2026-01-02",
    "commit": "abc", "command": "python benchmarks/bench_mask.py",
}  # fmt: skip


def test_the_readmes_are_what_the_results_say():
    assert tables.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(1990.4, "1,990"), (12.581, "12.58"), (0.02543, "0.0254"), (99.999, "100.00"), (0.0, "0")],
)
def test_numbers(value, text):
    assert tables.number(value) == text


def test_a_table_for_each_kind_and_set_of_contenders(monkeypatch, tmp_path):
    rows = [row(), row(density=0.5), row("select resnet50"), row(impcore=1.0, torch=20.0)]
    rows += [row("round, x", usual=2.0), row("training, x", usual=1.0)]
    found = list(tables.times([r.as_json() for r in rows]))
    assert len(found) == 4
    assert found[0].splitlines() == [
        "| | density | impcore | floor |",
        "| --- | --- | ---: | ---: |",
        "| prune resnet50 | 100% | 12.50 | 10.00 (0.80) |",
        "| prune resnet50 | 50% | 12.50 | 10.00 (0.80) |",
    ]
    assert "20.00 (20)" in found[2]


def test_a_sweep_names_the_number_of_weights():
    (table,) = tables.times([row("sweep-select few", n=n).as_json() for n in (10**5, 10**6)])
    assert "| sweep-select few | 1,000,000 |" in table


def test_targets_and_what_was_left_out():
    first = row()
    first.left_out = {"CUB DeviceTopK": "no nvcc"}
    report = Report([first], left_out={"llama-7b": "the limit of 120 s was reached"})
    judged = [Target("a", 0.85, 0.8, True), Target("b", 2.0, 1.5, False)]
    judged.append(Target("c", None, 2, True, "no nvcc"))
    data = results.as_json("mask", report, judged, ABOUT)
    assert "- prune resnet50: CUB DeviceTopK: no nvcc" in tables.left_out(data)
    assert "- llama-7b: the limit of 120 s was reached" in tables.left_out(data)
    assert tables.targets(data).splitlines()[2:] == [
        "| a | ≥ 0.8 | 0.85 | met |",
        "| b | ≤ 1.5 | 2 | **missed** |",
        "| c | ≥ 2 |  | no nvcc |".replace("|  |", "| |"),
    ]


def test_without_a_gpu_file_the_readme_says_not_yet_measured(monkeypatch, tmp_path):
    written(
        monkeypatch, tmp_path, ("mask.json", results.as_json("mask", Report([row()]), [], ABOUT))
    )
    assert "not yet measured" in tables.gpu()
    assert tables.everything().endswith("## GPUs\n\nNot yet measured.")
    assert "| ResNet-50, 25.5M weights | **12.50** | 10.00 |" in tables.cpu()


def test_the_first_words_are_of_the_largest_network_that_pytorch_prunes_too(monkeypatch, tmp_path):
    rows = [row("prune bert-base", n=n) for n in (85_524_480, 7)]
    for found, ours in zip(rows, (31.96, 0.5), strict=True):
        found.ms = {"impcore": ours, "floor": 29.0, "torch.nn.utils.prune": 10750.4}
    rows += [row("prune llama-7b", n=6_700_000_000), row("prune bert-base", 0.5, n=10**9)]
    written(monkeypatch, tmp_path, ("mask.json", results.as_json("mask", Report(rows), [], ABOUT)))
    assert tables.headline() == (
        "One `prune_global` of BERT-base, 85.5M weights, takes 32 ms on 2 CPU threads;\n"
        "`torch.nn.utils.prune` takes 10.8 s."
    )


def test_a_gpu_file_fills_its_tables(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    about = {**ABOUT, "gpu": "NVIDIA H200", "cuda": "13.0"}
    out = results.file_of("NVIDIA H200")
    assert out.name == "nvidia-h200.json"
    times = {"cuda, graph": 0.5, "copy rate": 0.25, "triton, graph": 0.625}
    found = row("prune bert-base", n=85_524_480)
    found.ms = times
    results.merge(results.as_json("mask", Report([found]), [], about), out)
    results.merge(results.as_json("optim", Report([row()]), [], about), out)
    table = tables.gpu()
    assert "one NVIDIA H200" in table
    assert "| BERT-base, 85.5M weights | 0.5 | 0.625 | 0.25 | – | – | – | – |" in table
    everything = tables.everything()
    assert "## NVIDIA H200\n\n### Pruning" in everything
    assert "### Masked optimisers" in everything
    assert "Not yet measured" not in everything


def test_a_section_is_replaced_and_the_others_stay(tmp_path):
    out = tmp_path / "x.json"
    about = {**ABOUT, "gpu": "A"}
    for name, op in (("mask", "one"), ("optim", "two"), ("mask", "three")):
        results.merge(results.as_json(name, Report([row(op)]), [], about), out)
    whole = json.loads(out.read_text())
    assert [whole[name]["rows"][0]["op"] for name in ("mask", "optim")] == ["three", "two"]
    other = results.as_json("mask", Report([]), [], {**ABOUT, "gpu": "B"})
    with pytest.raises(ValueError, match="results of A"):
        results.merge(other, out)
    assert json.loads(out.read_text()) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_only_the_blocks_of_a_readme_change(monkeypatch):
    monkeypatch.setitem(tables.BLOCKS, "gpu", lambda: "new\nlines")
    text = "before\n<!-- results: gpu -->\nold\n<!-- end -->\nafter\n"
    once = tables.filled(text)
    assert once == "before\n<!-- results: gpu -->\nnew\nlines\n<!-- end -->\nafter\n"
    assert tables.filled(once) == once
