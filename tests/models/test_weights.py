import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from impcore import models
from impcore.errors import CheckpointError
from impcore.models.resnet_imagenet import LAYOUTS
from impcore.models.weights import take


def fresh(**options):
    torch.manual_seed(1)
    return models.build("resnet14", in_channels=1, **options)


def source(**options):
    """A state dict that no `fresh` network has, running statistics included."""
    torch.manual_seed(2)
    model = models.build("resnet14", in_channels=1, **options).train()
    model(torch.randn(4, 1, 8, 8))
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def hugging_face(in_channels=1, classes=10):
    """transformers' ResNet of the shape of ResNet-14, but with the stem for ImageNet."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    config = transformers.ResNetConfig(
        num_channels=in_channels,
        embedding_size=16,
        hidden_sizes=[16, 32, 64],
        depths=[2, 2, 2],
        layer_type="basic",
        num_labels=classes,
    )
    return transformers.ResNetForImageClassification(config).train()


def save(state, path: Path):
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pth.tar", "w.bin"])
def test_all_of_a_file_of_torchvision_names(tmp_path, name):
    given = source()
    model = fresh()
    told = take(model, save(given, tmp_path / name))
    assert told.left == ()
    assert told.taken == tuple(model.state_dict())
    assert all(torch.equal(value, given[name]) for name, value in model.state_dict().items())
    assert told.describe() == f"{len(given)} tensors from {tmp_path / name}; left random: nothing"


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s, "epoch": 9}, lambda s: {"model": s}])
def test_training_scripts_wrap_the_state_dict(tmp_path, wrap):
    given = {f"module.{name}": tensor for name, tensor in source().items()}
    model = fresh()
    assert take(model, save(wrap(given), tmp_path / "w.pth")).left == ()
    assert torch.equal(model.fc.weight, given["module.fc.weight"])


def test_another_head_and_stem_stay_as_they_were_drawn(tmp_path):
    given = source(num_classes=7)
    given["conv1.weight"] = torch.randn(16, 3, 7, 7)
    model, drawn = fresh(), fresh().state_dict()
    told = take(model, save(given, tmp_path / "w.safetensors"))
    assert told.left == ("conv1.weight", "fc.weight", "fc.bias")
    assert "left random: conv1.weight, fc.weight, fc.bias" in told.describe()
    for name, value in model.state_dict().items():
        assert torch.equal(value, drawn[name] if name in told.left else given[name]), name
    assert not torch.equal(model.bn1.running_mean, drawn["bn1.running_mean"])


def test_a_backbone_has_no_head(tmp_path):
    given = {name: t for name, t in source().items() if not name.startswith("fc.")}
    assert take(fresh(), save(given, tmp_path / "w.pth")).left == ("fc.weight", "fc.bias")


@pytest.mark.parametrize("kind", ["directory", "pytorch_model.bin", "backbone"])
def test_hugging_faces_names(tmp_path, kind):
    theirs = hugging_face()
    theirs(torch.randn(4, 1, 16, 16))
    if kind == "pytorch_model.bin":
        torch.save(theirs.state_dict(), tmp_path / kind)
    elif kind == "backbone":
        theirs.resnet.save_pretrained(tmp_path)
    else:
        theirs.save_pretrained(tmp_path)
    model = fresh()
    told = take(model, tmp_path)
    head = ("fc.weight", "fc.bias") if kind == "backbone" else ()
    assert told.left == ("conv1.weight", *head)
    theirs.eval()
    model.eval()
    with torch.no_grad():
        # Past the stems the networks are the same.
        x = torch.randn(3, 16, 8, 8, generator=torch.Generator().manual_seed(0)).relu()
        features = theirs.resnet.encoder(x).last_hidden_state.mean((2, 3))
        torch.testing.assert_close(model.features(x), features)
        if not head:
            torch.testing.assert_close(model.fc(features), theirs.classifier(features[..., None]))
    assert torch.equal(
        model.bn1.running_var, theirs.resnet.embedder.embedder.normalization.running_var
    )


@pytest.mark.parametrize("depth", LAYOUTS)
def test_every_name_of_hugging_faces_resnets_has_its_place(depth):
    transformers = pytest.importorskip("transformers")
    block, counts = LAYOUTS[depth]
    with torch.device("meta"):
        theirs = transformers.ResNetForImageClassification(
            transformers.ResNetConfig(
                depths=list(counts),
                hidden_sizes=[width * block.expansion for width in (64, 128, 256, 512)],
                layer_type="basic" if block.expansion == 1 else "bottleneck",
                num_labels=1000,
            )
        )
        ours = models.build(f"resnet{depth}", stem="imagenet", num_classes=1000)
    rename = ours.names_in_files().rename
    found = {rename(name): tensor.shape for name, tensor in theirs.state_dict().items()}
    assert found == {name: tensor.shape for name, tensor in ours.state_dict().items()}


def test_half_precision_is_widened_and_missing_counters_do_not_matter(tmp_path):
    given = {
        name: tensor.bfloat16() if tensor.is_floating_point() else tensor
        for name, tensor in source().items()
        if "num_batches_tracked" not in name
    }
    model = fresh()
    assert take(model, save(given, tmp_path / "w.safetensors")).left == ()
    assert model.fc.weight.dtype == torch.float32
    assert torch.equal(model.fc.weight, given["fc.weight"].float())


def _without(name):
    return lambda state: state.pop(name)


def _with(name, value):
    return lambda state: state.update({name: value})


FAULTS = [
    (_without("layer2.0.conv1.weight"), r"lacks layer2\.0\.conv1\.weight, which should be \[32, 1"),
    (_without("bn1.running_mean"), r"lacks bn1\.running_mean"),
    (
        _with("layer3.1.conv2.weight", torch.zeros(64, 64, 1, 1)),
        r"layer3\.1\.conv2\.weight is \[64, 64, 1, 1\], should be \[64, 64, 3, 3\]",
    ),
    (_with("layer4.0.conv1.weight", torch.zeros(1)), r"holds layer4\.0\.conv1\.weight, which this"),
    (_with("fc.weight_orig", torch.zeros(1)), r"holds fc\.weight_orig"),
    (_with("bn1.bias", torch.full((16,), torch.nan)), r"bn1\.bias holds NaN or infinity"),
    (_with("bn1.bias", torch.zeros(16, dtype=torch.int32)), r"bn1\.bias is torch\.int32"),
    (_with("module.bn1.bias", torch.zeros(16)), r'both with and without "module\."'),
    (_with("classifier.1.bias", torch.zeros(10)), r"holds fc\.bias twice"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_another_networks_weights_are_refused_and_nothing_has_changed(tmp_path, fault, message):
    given = source()
    fault(given)
    path = save(given, tmp_path / "w.safetensors")
    model, before = fresh(), fresh().state_dict()
    with pytest.raises(CheckpointError, match=message) as info:
        take(model, path)
    assert str(path) in str(info.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Code:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return (Path.mkdir, (Path(self.trace),))


def test_code_in_a_file_is_refused_and_not_run(tmp_path):
    path, trace = tmp_path / "w.pth", tmp_path / "trace"
    control = tmp_path / "control"
    pickle.loads(pickle.dumps(Code(control)))
    assert control.is_dir()
    torch.save({"fc.weight": torch.zeros(1), "x": Code(trace)}, path)
    with pytest.raises(CheckpointError, match=r"w\.pth: refused: it is a pickled module"):
        take(fresh(), path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_damaged_and_missing_files_are_named(tmp_path, name):
    with pytest.raises(CheckpointError, match=name):
        take(fresh(), tmp_path / name)
    path = save(source(), tmp_path / name)
    content = path.read_bytes()
    for kept in (0, 5, len(content) // 2):
        path.write_bytes(content[:kept])
        with pytest.raises(CheckpointError, match=name):
            take(fresh(), path)
    with pytest.raises(CheckpointError, match=r"without model\.safetensors or pytorch_model\.bin"):
        take(fresh(), tmp_path)
