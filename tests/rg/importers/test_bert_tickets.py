"""BERT-Tickets: masks give the P flow; a pickled module is refused with a recipe."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from impcore import rg
from impcore.errors import CheckpointError, RunDirectoryError
from impcore.rg.importers import Options, import_run

from .bomb import armed

PARTS = ("attention.self.query", "attention.output.dense", "intermediate.dense")
SIZE = 20
NAMES = [f"bert.encoder.layer.{i}.{part}.weight" for i in range(3) for part in PARTS]
NAMES += ["bert.pooler.dense.weight"]


def write(output, rounds=10, results=True):
    """Masks of a linear schedule: a tenth of the original weights a round, the last all zero."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(NAMES) * SIZE * SIZE)
    counts = []
    for n in range(1, rounds + 1):
        flat = np.ones(order.size, dtype=np.float32)
        flat[order[: n * order.size // 10]] = 0
        masks = torch.from_numpy(flat).reshape(len(NAMES), SIZE, SIZE)
        directory = output / f"checkpoint-{n * 1000}"
        directory.mkdir(parents=True)
        torch.save(
            {name + "_mask": mask.clone() for name, mask in zip(NAMES, masks, strict=True)},
            directory / "mask.pt",
        )
        torch.save(torch.nn.Linear(2, 2), directory / "model.pt")
        counts.append(masks.sum(dim=(1, 2)).numpy().astype(int))
    if results:  # averages that NumPy took, as glue_compute_metrics returns them
        found = [{"acc": np.float64(0.8 - n / 100), "loss": 0.5} for n in range(rounds)]
        torch.save(found, output / "result.pt")
    return np.array([np.full(len(NAMES), SIZE * SIZE), *counts[:9]])


def test_masks_give_the_p_flow_of_the_next_round_and_no_m(tmp_path):
    counts = write(tmp_path / "mnli")
    import_run("bert_tickets", tmp_path / "mnli", tmp_path / "out")
    run = rg.load(tmp_path / "out")
    assert list(run.observables) == ["P"]
    assert run.names == ("layer.0", "layer.1", "layer.2", "rest")
    blocks = np.stack([counts[:, 3 * i : 3 * i + 3].sum(axis=1) for i in range(3)]
                      + [counts[:, 9]], axis=1)  # fmt: skip
    np.testing.assert_allclose(run.P, blocks / blocks.sum(axis=1, keepdims=True), rtol=1e-15)
    np.testing.assert_allclose(run.density, np.arange(10, 0, -1) / 10)  # density 0 is no state
    np.testing.assert_allclose(run.accuracy, 0.8 - np.arange(10) / 100)
    assert run.rows[0].extra["metrics"]["loss"] == 0.5
    c = rg.analyse(run)["P"].eigen.c
    np.testing.assert_allclose(c, [10 / 9, 9 / 8, 8 / 7, 7 / 6, 6 / 5, 5 / 4, 4 / 3, 3 / 2, 2])
    with pytest.raises(RunDirectoryError, match="has no M"):
        _ = run.M


def test_without_results_there_are_no_accuracies(tmp_path):
    write(tmp_path / "mnli", rounds=3, results=False)
    import_run("bert_tickets", tmp_path / "mnli", tmp_path / "out")
    run = rg.load(tmp_path / "out")
    assert len(run.remaining) == 4
    assert run.rows == ()


def test_squads_exact_match_is_a_percentage_and_other_metrics_keep_their_names(tmp_path):
    write(tmp_path / "squad", rounds=2)
    torch.save([{"exact": 80.5, "f1": 88.0}, {"mcc": 0.5}], tmp_path / "squad" / "result.pt")
    import_run("bert_tickets", tmp_path / "squad", tmp_path / "out")
    run = rg.load(tmp_path / "out")
    assert run.accuracy[0] == pytest.approx(0.805)
    assert np.isnan(run.accuracy[1:]).all()
    assert run.rows[1].extra["metrics"] == {"mcc": 0.5}


def test_metrics_that_are_not_finite_are_null_and_no_metrics_are_refused(tmp_path):
    write(tmp_path / "cola", rounds=2)
    result = tmp_path / "cola" / "result.pt"
    torch.save([{"mcc": float("nan"), "acc": torch.tensor(0.5)}, {}], result)
    import_run("bert_tickets", tmp_path / "cola", tmp_path / "out")
    run = rg.load(tmp_path / "out")
    assert run.rows[0].extra["metrics"] == {"mcc": None, "acc": 0.5}
    assert run.accuracy[0] == 0.5
    for wrong, message in (
        ([{"acc": 85.0}], "its recorded accuracy is 85.0; should be a fraction"),
        ([{}, {"f1": torch.ones(2)}], r"result\.pt: entry 1: f1 must be a number"),
        ([{"acc": "0.5"}], r"result\.pt: entry 0: acc must be a number, not 0\.5"),
    ):
        torch.save(wrong, result)
        with pytest.raises(CheckpointError, match=message):
            import_run("bert_tickets", tmp_path / "cola", tmp_path / "out2")
        assert not (tmp_path / "out2").exists()


def test_a_pickled_module_is_refused_with_a_recipe_of_two_lines(tmp_path):
    write(tmp_path / "mnli", rounds=2)
    for mask in (tmp_path / "mnli").glob("*/mask.pt"):
        mask.unlink()
    with pytest.raises(CheckpointError, match=r"model.pt: refused \(KIND torch_prune") as caught:
        import_run("bert_tickets", tmp_path / "mnli", tmp_path / "out")
    recipe = str(caught.value).split("\n")[1:]
    assert [line.strip() for line in recipe] == [
        'model = torch.load("model.pt", weights_only=False, map_location="cpu")',
        'torch.save(model.state_dict(), "model_state.pt")',
    ]


def test_code_in_masks_or_results_is_never_run(tmp_path):
    bomb, trace = armed(tmp_path)
    write(tmp_path / "mnli", rounds=2)
    torch.save([{"acc": bomb}], tmp_path / "mnli" / "result.pt")
    with pytest.raises(CheckpointError, match=r"result.pt: refused"):
        import_run("bert_tickets", tmp_path / "mnli", tmp_path / "out")
    torch.save([5], tmp_path / "mnli" / "result.pt")
    with pytest.raises(CheckpointError, match="must list the evaluations"):
        import_run("bert_tickets", tmp_path / "mnli", tmp_path / "out")
    torch.save({"x_mask": bomb}, tmp_path / "mnli" / "checkpoint-1000" / "mask.pt")
    (tmp_path / "mnli" / "result.pt").unlink()
    with pytest.raises(CheckpointError, match=r"mask.pt: refused"):
        import_run("bert_tickets", tmp_path / "mnli", tmp_path / "out")
    assert not trace.exists()


def test_rewound_weights_cannot_be_had(tmp_path):
    write(tmp_path / "mnli", rounds=2)
    with pytest.raises(ValueError, match="theta = rewound: bert_tickets files hold one set"):
        import_run("bert_tickets", tmp_path / "mnli", tmp_path / "out", Options(theta="rewound"))
