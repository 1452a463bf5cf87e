"""State dicts of any training loop: pruned by torch, or with zeros as the mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from impcore import rg
from impcore.errors import CheckpointError
from impcore.rg.importers import Options, import_run

from .bomb import armed
from .conftest import OTHERS, RESNET, STAGES, make_truth, pruned_state_dict


def zeroed(truth, n, prefix=""):
    tensors = {prefix + name: torch.ones(shape) for name, shape in OTHERS.items()}
    for name, weight in truth.weights[n].items():
        tensors[prefix + name] = torch.where(truth.masks[n][name] == 1, weight, 0.0)
    return tensors


@pytest.mark.parametrize("wrap", [None, "state_dict", "model_state_dict"])
def test_state_dicts_of_torch_prune(tmp_path, resnet, wrap):
    (tmp_path / "run").mkdir()
    for n in range(4):
        content = pruned_state_dict(resnet, n)
        if wrap:
            content = {wrap: {f"module.{k}": v for k, v in content.items()}, "epoch": 3}
        torch.save(content, tmp_path / "run" / f"round{n + 8}.pt")  # 8, 9, 10, 11
    import_run("torch_prune", tmp_path / "run", tmp_path / "out")
    run = rg.load(tmp_path / "out")
    np.testing.assert_allclose(run.M, resnet.share(STAGES), rtol=1e-12)
    assert run.remaining.tolist() == resnet.remaining
    assert run.rows == ()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_zeros_are_the_mask(tmp_path, suffix):
    truth = make_truth(RESNET, 3)
    (tmp_path / "run").mkdir()
    for n in range(3):
        path = tmp_path / "run" / f"{n}{suffix}"
        (save_file if suffix == ".safetensors" else torch.save)(zeroed(truth, n), path)
    chosen = Options(exclude=("conv1.weight", "fc.*"))
    import_run("state_dicts", tmp_path / "run", tmp_path / "out", chosen)
    run = rg.load(tmp_path / "out")
    assert run.names == ("stage1", "stage2", "stage3", "stage4")
    np.testing.assert_allclose(run.M, truth.share(STAGES), rtol=1e-12)
    assert run.remaining.tolist() == truth.remaining
    import_run("state_dicts", tmp_path / "run", tmp_path / "out")
    default = rg.load(tmp_path / "out")  # every weight of two dimensions or more
    assert default.names[-1] == "rest"
    assert default.total == run.total + 4 * 27 + 80
    chosen = Options(include=("layer1.*",), granularity="tensor")
    import_run("state_dicts", tmp_path / "run", tmp_path / "out", chosen)
    assert rg.load(tmp_path / "out").names == ("layer1.0.conv1", "layer1.1.conv1")


def test_weights_of_other_names_are_no_prunable_ones(tmp_path):
    truth = make_truth({"attention.out_proj.weight": (8, 8), "weight": (8, 8)}, 3, dust=False)
    (tmp_path / "run").mkdir()
    for n in range(3):
        tensors = {
            "attention.in_proj_weight": torch.ones(24, 8),
            "rnn.weight_hh_l0": torch.ones(8, 8),
        }
        tensors |= {k: v * truth.masks[n][k] for k, v in truth.weights[n].items()}
        save_file(tensors, tmp_path / "run" / f"{n}.safetensors")
    import_run("state_dicts", tmp_path / "run", tmp_path / "out", Options(granularity="tensor"))
    run = rg.load(tmp_path / "out")
    assert run.names == ("attention.out_proj", "weight")
    assert run.remaining.tolist() == truth.remaining


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes(tmp_path, dtype):
    truth = make_truth({"a.weight": (30, 30), "b.weight": (30, 30)}, 3, dust=False)
    truth.weights = [{k: v.to(dtype) for k, v in state.items()} for state in truth.weights]
    (tmp_path / "run").mkdir()
    for n in range(3):
        tensors = {k: v * truth.masks[n][k].to(dtype) for k, v in truth.weights[n].items()}
        save_file(tensors, tmp_path / "run" / f"{n}.safetensors")
    import_run("state_dicts", tmp_path / "run", tmp_path / "out")
    expected = truth.share([["a.weight"], ["b.weight"]])
    np.testing.assert_allclose(rg.load(tmp_path / "out").M, expected, rtol=1e-12)


def test_files_may_lie_in_directories_of_their_own(tmp_path, resnet):
    for n in range(4):
        directory = tmp_path / "run" / f"checkpoint-{n * 500 + 500}"
        directory.mkdir(parents=True)
        torch.save(pruned_state_dict(resnet, n), directory / "state.pt")
        torch.save({"lr": 0.1}, directory / "optimizer.pt")
    import_run("torch_prune", tmp_path / "run", tmp_path / "out", Options(files="*/state.pt"))
    np.testing.assert_allclose(rg.load(tmp_path / "out").M, resnet.share(STAGES), rtol=1e-12)


def test_faults_are_named(tmp_path, resnet):
    run, out = tmp_path / "run", tmp_path / "out"
    run.mkdir()
    with pytest.raises(CheckpointError, match="a flow needs 2 checkpoints or more"):
        import_run("state_dicts", run, out)
    for n in (0, 1):
        torch.save(zeroed(resnet, 1 - n), run / f"{n}.pt")
    with pytest.raises(
        CheckpointError, match=r"1.pt: .* weights remain, .* are the files in order"
    ):
        import_run("state_dicts", run, out)
    with pytest.raises(CheckpointError, match=r"1.pt: holds no \*_mask; are zeros the mask"):
        import_run("torch_prune", run, out)
    with pytest.raises(CheckpointError, match="no prunable tensor among"):
        import_run("state_dicts", run, out, Options(include=("nothing",)))
    torch.save({"a.weight": torch.ones(2, 2)}, run / "1.pt")
    with pytest.raises(CheckpointError, match=r"1.pt: lacks conv1.weight"):
        import_run("state_dicts", run, out)
    torch.save([1, 2], run / "0.pt")
    with pytest.raises(CheckpointError, match=r"0.pt: must hold a dictionary, not list"):
        import_run("state_dicts", run, out)
    torch.save({"epoch": 1}, run / "0.pt")
    with pytest.raises(CheckpointError, match=r"0.pt: holds no tensors; its keys are .'epoch'."):
        import_run("state_dicts", run, out)
    bomb, trace = armed(tmp_path)
    torch.save({"a": bomb}, run / "0.pt")
    with pytest.raises(CheckpointError, match=r"0.pt: refused"):
        import_run("state_dicts", run, out)
    assert not trace.exists()
    for n in (0, 1):
        (run / f"{n}.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(CheckpointError, match=r"0.safetensors: not a safetensors file"):
        import_run("state_dicts", run, out, Options(files="*.safetensors"))
    assert not out.exists()
