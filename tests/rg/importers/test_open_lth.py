"""open_lth: a lottery directory as its runner leaves it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from impcore import rg
from impcore.errors import CheckpointError
from impcore.rg.importers import Options, import_run

from .bomb import armed
from .conftest import make_truth

NET = {"conv.weight": (4, 3, 3, 3), "fc.weight": (10, 8)}
NET |= {f"blocks.{i}.conv{k}.weight": (4, 4, 3, 3) for i in range(6) for k in (1, 2)}
STAGES = [[name for name in NET if name.startswith((f"blocks.{2 * s}.", f"blocks.{2 * s + 1}."))]
          for s in range(3)] + [["conv.weight", "fc.weight"]]  # fmt: skip


def write(replicate, truth, *, logger=True):
    for n, (weights, masks) in enumerate(zip(truth.weights, truth.masks, strict=True)):
        main = replicate / f"level_{n}" / "main"
        main.mkdir(parents=True)
        torch.save({k: v.int() for k, v in masks.items()}, main / "mask.pth")
        (main / "sparsity_report.json").write_text(json.dumps({"total": 1.0, "unpruned": 1.0}))
        other = {"bn.weight": torch.ones(4), "bn.num_batches_tracked": torch.tensor(5)}
        start = {k: v * masks[k] for k, v in truth.rewound.items()}
        torch.save(start | other, main / "model_ep2_it22.pth")
        torch.save(weights | other, main / "model_ep160_it0.pth")
        torch.save({"ep": 160, "it": 0}, main / "checkpoint.pth")
        if logger:
            lines = ["test_loss,1000,2.5", "test_accuracy,1000,0.125", "test_examples,1000,100.0"]
            lines += [f"test_loss,62560,{0.5 + n}", f"test_accuracy,62560,{0.91 - n / 100}"]
            (main / "logger").write_text("\n".join(lines))
    (replicate / "level_0" / "main" / "hparams.log").write_text("Dataset Hyperparameters\n")


@pytest.fixture
def truth():
    return make_truth(NET, 3)


def test_every_replicate_becomes_a_run_of_one_experiment(tmp_path, truth):
    lottery = tmp_path / "lottery_1234"
    other = make_truth(NET, 3, seed=9)
    write(lottery / "replicate_1", truth)
    write(lottery / "replicate_10", other)
    made = import_run("open_lth", lottery, tmp_path / "out")
    assert made == [tmp_path / "out" / "replicate_1", tmp_path / "out" / "replicate_10"]
    for path, expected in zip(made, (truth, other), strict=True):
        run = rg.load(path)
        assert run.names == ("stage1", "stage2", "stage3", "rest")
        assert run.remaining.tolist() == expected.remaining
        np.testing.assert_allclose(run.M, expected.share(STAGES), rtol=1e-12)
        np.testing.assert_allclose(run.P, expected.share(STAGES, "P"), rtol=1e-15)
        np.testing.assert_allclose(run.accuracy, [0.91, 0.90, 0.89])
        assert [row.loss for row in run.rows] == [0.5, 1.5, 2.5]
    configs = [{k: v for k, v in rg.load(path).config.items() if k != "run"} for path in made]
    assert configs[0] == configs[1]  # seeds of one experiment


def test_rewound_weights_are_those_at_the_start_of_training(tmp_path, truth):
    write(tmp_path / "replicate_1", truth)
    import_run("open_lth", tmp_path / "replicate_1", tmp_path / "out", Options(theta="rewound"))
    run = rg.load(tmp_path / "out")
    np.testing.assert_allclose(run.M, truth.share(STAGES, weights=truth.rewound), rtol=1e-12)


def test_without_a_logger_there_are_no_accuracies(tmp_path, truth):
    write(tmp_path / "replicate_1", truth, logger=False)
    import_run("open_lth", tmp_path / "replicate_1", tmp_path / "out")
    assert not (tmp_path / "out" / "rounds.jsonl").exists()
    assert np.isnan(rg.load(tmp_path / "out").accuracy).all()


def test_an_unfinished_last_level_is_left_out_and_one_between_is_an_error(tmp_path, truth):
    replicate = tmp_path / "replicate_1"
    write(replicate, truth)
    (replicate / "level_2" / "main" / "model_ep160_it0.pth").unlink()
    import_run("open_lth", replicate, tmp_path / "out")
    assert rg.load(tmp_path / "out").remaining.tolist() == truth.remaining[:2]
    (replicate / "level_1" / "main" / "model_ep160_it0.pth").rename(
        replicate / "level_2" / "main" / "model_ep160_it0.pth"
    )
    with pytest.raises(CheckpointError, match=r"level_1/main: has no model_ep160_it0.pth"):
        import_run("open_lth", replicate, tmp_path / "out")


def test_faults_are_named(tmp_path, truth):
    replicate, out = tmp_path / "replicate_1", tmp_path / "out"
    tmp_path.joinpath("empty").mkdir()
    with pytest.raises(CheckpointError, match="holds neither replicate_1"):
        import_run("open_lth", tmp_path / "empty", out)
    write(replicate, truth)
    mask = replicate / "level_1" / "main" / "mask.pth"
    good = torch.load(mask, weights_only=True)
    torch.save(good | {"fc.weight": good["fc.weight"] * 2}, mask)
    with pytest.raises(CheckpointError, match=r"fc.weight has a mask that holds something else"):
        import_run("open_lth", replicate, out)
    torch.save(good | {"nothing.weight": torch.ones(2)}, mask)
    with pytest.raises(CheckpointError, match=r"lacks .'nothing.weight'., which mask.pth masks"):
        import_run("open_lth", replicate, out)
    bomb, trace = armed(tmp_path)
    torch.save({"fc.weight": bomb}, mask)
    with pytest.raises(CheckpointError, match=r"mask.pth: refused"):
        import_run("open_lth", replicate, out)
    assert not trace.exists()
    torch.save(good, mask)
    (replicate / "level_1" / "main" / "logger").write_text("test_accuracy,5\n")
    (replicate / "level_0" / "main" / "logger").write_bytes(b"test_accuracy,1,0.5\n\xff\xfe\n")
    with pytest.raises(CheckpointError, match="logger:2: not NAME,ITERATION,VALUE"):
        import_run("open_lth", replicate, tmp_path / "out")
    (replicate / "level_0" / "main" / "logger").unlink()
    with pytest.raises(CheckpointError, match="logger:1: not NAME,ITERATION,VALUE"):
        import_run("open_lth", replicate, out)
    (replicate / "level_1").rename(replicate / "level_7")
    with pytest.raises(CheckpointError, match="has level_2 but not level_1"):
        import_run("open_lth", replicate, out)
