from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from impcore import models
from impcore.config import Config
from impcore.errors import ConfigError
from impcore.imp import lab, run
from impcore.imp.signals import Stopped
from impcore.imp.tasks import TASKS

MakeConfig = Callable[..., Config]


def state(made: lab.Lab) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in made.model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_seed_alone_decides_the_weights(make_config: MakeConfig) -> None:
    first = state(lab.build(make_config()))
    torch.manual_seed(99)
    assert same(first, state(lab.build(make_config())))
    assert not same(first, state(lab.build(make_config(run__seed=4))))


@pytest.mark.parametrize("channels_last", [False, True])
def test_memory_format_is_the_recipes_and_changes_no_identity(
    make_config: MakeConfig, channels_last: bool
) -> None:
    made = lab.build(make_config(train__channels_last=channels_last))
    weight = made.model.get_parameter("layer1.0.conv1.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert made.identity["model"] == lab.build(make_config()).identity["model"]


def test_validation_images_are_not_trained_on(make_config: MakeConfig) -> None:
    made = lab.build(make_config(data__validation=300, data__drop_last=True))
    assert made.validation is not None
    # 1,352 digits; 32 images a step.
    assert (len(made.validation), len(made.train), made.train.steps_per_epoch) == (300, 1052, 32)
    assert lab.build(make_config()).validation is None
    with pytest.raises(ConfigError, match=r"data\.validation = 1352: .* are 1352; .* at most 1351"):
        lab.build(make_config(data__validation=1352))


def test_a_batch_that_drop_last_would_never_fill_is_named_by_its_key(
    make_config: MakeConfig,
) -> None:
    message = r"train\.batch_size = 1353: .*data\.drop_last .* at most 1352"
    with pytest.raises(ConfigError, match=message):
        lab.build(make_config(train__batch_size=1353, data__drop_last=True))


def test_folders_of_images_are_a_data_set_like_any_other(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    for part, count in (("train", 5), ("val", 2)):
        for name in ("cat", "dog", "eel"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(count):
                image = Image.new("RGB", (9 + i, 11), (20 * i, 60, 90))
                image.save(tmp_path / part / name / f"{i}.png")
    options = {"data__name": "image_folder", "data__root": str(tmp_path), "data__image_size": 8}
    config = make_config(**options, data__augment="resized_crop", train__batch_size=4)

    def stop() -> None:
        raise Stopped(2)

    with pytest.raises(Stopped):
        lab.build(config, stop)
    made = lab.build(config)
    assert (len(made.train), len(made.test), made.train.steps_per_epoch) == (15, 6, 4)
    inputs, _ = next(made.train.epoch(0))
    assert inputs.shape == (4, 3, 8, 8)
    assert made.model(inputs).shape == (4, 3)
    assert made.identity["data"] == lab.build(config).identity["data"]


def test_blocks_without_a_prunable_parameter_are_left_out(make_config: MakeConfig) -> None:
    assert lab.build(make_config()).flow.names == ["stage1", "stage2", "stage3", "rest"]
    made = lab.build(make_config(prune__exclude=["layer2.*", "conv1.*", "fc.*"]))
    assert made.flow.names == ["stage1", "stage3"]


def test_given_weights_are_the_start(make_config: MakeConfig, tmp_path: Path) -> None:
    torch.manual_seed(1)
    given = models.build("resnet14", in_channels=1).state_dict()
    path = tmp_path / "weights.safetensors"
    save_file(given, path)
    made = lab.build(make_config(model__path=str(path)))
    assert same(given, made.model.state_dict())
    assert made.identity["model"] != lab.build(make_config()).identity["model"]


def test_what_the_given_weights_leave_is_kept_and_told(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(models.build("resnet14", in_channels=3, num_classes=7).state_dict(), path)
    made = lab.build(make_config(model__path=str(path)))
    assert made.weights is not None
    assert made.weights.left == ("conv1.weight", "fc.weight", "fc.bias")
    drawn = state(lab.build(make_config()))
    assert all(
        torch.equal(made.model.state_dict()[name], drawn[name]) for name in made.weights.left
    )
    assert lab.build(make_config()).weights is None


def test_the_batch_norm_scales_are_the_recipes(make_config: MakeConfig) -> None:
    ones = lab.build(make_config(model__bn_gamma="ones")).model.get_parameter("bn1.weight")
    assert bool((ones == 1).all())
    drawn = lab.build(make_config()).model.get_parameter("bn1.weight")
    assert not bool((drawn == 1).any())


def _missing(path: Path) -> None:
    pass


def _damaged(path: Path) -> None:
    path.write_bytes(b"not safetensors")


def _another(path: Path) -> None:
    save_file({"layer9.weight": torch.zeros(3)}, path)


@pytest.mark.parametrize("fault", [_missing, _damaged, _another])
def test_wrong_weights_are_refused_by_key(
    make_config: MakeConfig, tmp_path: Path, fault: Callable[[Path], None]
) -> None:
    path = tmp_path / "weights.safetensors"
    fault(path)
    with pytest.raises(ConfigError, match=r"model\.path: .*weights\.safetensors"):
        lab.build(make_config(model__path=str(path)))


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"prune__include": ["layer9.*"]}, r"prune\.include: .*layer9"),
        ({"prune__rounds": 60, "prune__rate": 0.5}, "each prune must remove at least 1"),
    ],
)
def test_what_only_the_model_shows_is_still_a_config_error(
    make_config: MakeConfig, overrides: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        lab.build(make_config(**overrides))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_device_is_a_config_error(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r"run\.device: 'cuda'"):
        lab.build(make_config(run__device="cuda"))
    assert lab.build(make_config(run__device="auto")).device.type == "cpu"


def test_smoothing_needs_classes(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    regression = dataclasses.replace(TASKS["classification"], classes=False)
    monkeypatch.setattr(lab, "TASKS", {"classification": regression})
    config = make_config(train__label_smoothing=0.1)
    with pytest.raises(ConfigError, match=r"train\.label_smoothing = 0\.1"):
        run(config)
    assert not Path(config.run.out).exists()


def test_a_graph_needs_cuda(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError, match=r'train\.cuda_graph = "on": needs a CUDA device'):
        lab.build(make_config(train__cuda_graph="on"))
    for choice in ("auto", "off"):
        assert lab.build(make_config(train__cuda_graph=choice)).learner().graph is None


def test_fine_tuning_keeps_the_last_rate(make_config: MakeConfig) -> None:
    made = lab.build(make_config(rewind__kind="finetune", rewind__length="9it", rewind__to="init"))
    start, end = made.span(1)
    assert (start, end) == (6, 15)
    assert {made.rate_at(step) for step in range(start, end)} == {made.rate.at(5)}
    assert made.rate.at(5) == pytest.approx(0.005)
