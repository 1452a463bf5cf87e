"""CV_LTH_Pre-training: {n}checkpoint.pth.tar as its scripts write it."""

from __future__ import annotations

import collections

import numpy as np
import pytest
import torch

from impcore import rg
from impcore.errors import CheckpointError, NonFiniteError
from impcore.rg.importers import Options, import_run

from .bomb import armed
from .conftest import STAGES, pruned_state_dict


def write(directory, truth, *, legacy=False, **changes):
    """The dictionary of main_imp_downstream.py, whole: optimizer and scheduler as PyTorch makes
    them (the scheduler holds a Counter)."""
    directory.mkdir(exist_ok=True)
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([parameter], 0.1, momentum=0.9)
    parameter.grad = torch.ones(3)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [91, 136])
    assert isinstance(scheduler.state_dict()["milestones"], collections.Counter)
    for n in range(len(truth.masks)):
        content = {
            "state": n,
            "result": {"train": [50.0, 99.0], "ta": [49.0, 94.0 - n], "test_ta": [48.0, 93.5 - n]},
            "epoch": 182,
            "state_dict": pruned_state_dict(truth, n),
            "best_sa": 94.0 - n,
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "init_weight": dict(truth.rewound),
        }
        torch.save(
            content | changes,
            directory / f"{n}checkpoint.pth.tar",
            _use_new_zipfile_serialization=not legacy,
        )


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before torch 1.6"])
def test_the_flow_is_that_of_counting_one_weight_at_a_time(tmp_path, resnet, legacy):
    write(tmp_path / "run", resnet, legacy=legacy)
    (tmp_path / "run" / "0model_SA_best.pth.tar").write_bytes(b"not read")
    assert import_run("cv_lth", tmp_path / "run", tmp_path / "out") == [tmp_path / "out"]
    run = rg.load(tmp_path / "out")
    assert run.names == ("stage1", "stage2", "stage3", "stage4")
    assert run.remaining.tolist() == resnet.remaining
    np.testing.assert_allclose(run.M, resnet.share(STAGES), rtol=1e-12)
    np.testing.assert_allclose(run.P, resnet.share(STAGES, "P"), rtol=1e-15)
    np.testing.assert_allclose(run.accuracy, [0.935, 0.925, 0.915, 0.905])
    assert run.theta == "trained"
    assert run.total == resnet.remaining[0]
    assert run.rows[2].extra["validation_accuracy"] == pytest.approx(0.92)
    assert run.name == "run"


def test_rewound_weights_are_those_under_each_mask(tmp_path, resnet):
    write(tmp_path / "run", resnet)
    import_run("cv_lth", tmp_path / "run", tmp_path / "out", Options(theta="rewound"))
    run = rg.load(tmp_path / "out")
    np.testing.assert_allclose(run.M, resnet.share(STAGES, weights=resnet.rewound), rtol=1e-12)
    assert run.theta == "rewound"


def test_blocks_by_pattern_and_by_granularity(tmp_path, resnet):
    write(tmp_path / "run", resnet)
    chosen = Options(blocks={"early": ["layer1.*", "layer2.0.conv*"]})
    import_run("cv_lth", tmp_path / "run", tmp_path / "out", chosen)
    assert rg.load(tmp_path / "out").names == ("early", "rest")
    import_run("cv_lth", tmp_path / "run", tmp_path / "out", Options(granularity="block"))
    names = rg.load(tmp_path / "out").names
    assert names == ("layer1.0", "layer1.1", "layer2.0", "layer3.0", "layer4.0")


def test_code_is_never_run(tmp_path, resnet):
    bomb, trace = armed(tmp_path)
    write(tmp_path / "run", resnet, optimizer=bomb)
    with pytest.raises(CheckpointError, match="refused: it is a pickled module") as caught:
        import_run("cv_lth", tmp_path / "run", tmp_path / "out")
    assert not trace.exists()
    assert not (tmp_path / "out").exists()
    assert "torch.save(model.state_dict()" in str(caught.value)


def test_faults_are_named(tmp_path, resnet):
    run, out = tmp_path / "run", tmp_path / "out"
    write(run, resnet)
    (run / "2checkpoint.pth.tar").rename(run / "9checkpoint.pth.tar")
    with pytest.raises(CheckpointError, match="lacks 2checkpoint"):
        import_run("cv_lth", run, out)
    (run / "9checkpoint.pth.tar").rename(run / "2checkpoint.pth.tar")
    torch.save({"state": 1}, run / "1checkpoint.pth.tar")
    with pytest.raises(CheckpointError, match=r"1checkpoint.pth.tar: lacks state_dict"):
        import_run("cv_lth", run, out)
    write(run, resnet, state=7)
    with pytest.raises(CheckpointError, match="says state 7, its name 0"):
        import_run("cv_lth", run, out)
    write(run, resnet, result={"test_ta": [9350.0]})
    with pytest.raises(CheckpointError, match="must be percentages, not 9350"):
        import_run("cv_lth", run, out)
    data = (run / "3checkpoint.pth.tar").read_bytes()
    write(run, resnet)
    (run / "3checkpoint.pth.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"3checkpoint.pth.tar: not a checkpoint file"):
        import_run("cv_lth", run, out)
    with pytest.raises(CheckpointError, match="does not exist"):
        import_run("cv_lth", tmp_path / "nowhere", out)
    resnet.weights[1]["layer3.0.conv1.weight"][resnet.masks[1]["layer3.0.conv1.weight"] == 1] = (
        float("inf")
    )
    write(run, resnet)
    with pytest.raises(
        NonFiniteError, match=r"1checkpoint.pth.tar: layer3.0.conv1.weight holds NaN"
    ):
        import_run("cv_lth", run, out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"test_ta": 93.5}, r"result\['test_ta'\] must be a list of numbers, not a float"),
        ({"test_ta": [90.0, "x"]}, r"result\['test_ta'\], its last entry, must be a number, not x"),
        ({"test_ta": [930.0]}, "must be percentages, not 930.0"),
    ],
)
def test_accuracies_that_are_none_are_refused(tmp_path, resnet, result, message):
    write(tmp_path / "run", resnet, result=result)
    with pytest.raises(CheckpointError, match=message):
        import_run("cv_lth", tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_accuracies_and_epochs_may_be_tensors_or_missing(tmp_path, resnet):
    write(tmp_path / "run", resnet, result={"test_ta": [torch.tensor(92.5)], "ta": []},
          epoch=torch.tensor([1, 2]))  # fmt: skip
    import_run("cv_lth", tmp_path / "run", tmp_path / "out")
    run = rg.load(tmp_path / "out")
    assert run.accuracy.tolist() == [0.925] * 4
    assert run.rows[0].extra == {"epoch": None, "validation_accuracy": None}
