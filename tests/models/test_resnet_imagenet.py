import math
from fnmatch import fnmatchcase

import pytest
import torch
from torch import nn

from impcore import Masks, models
from impcore.models.resnet_imagenet import LAYOUTS, imagenet_resnet

# Of torchvision's models with 1,000 classes (its documentation's num_params); ResNet-26 by hand.
PARAMETERS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160}


def on_meta(depth, **options):
    with torch.device("meta"):
        return models.build(f"resnet{depth}", **options)


def layers(model, *kinds):
    return {name: m for name, m in model.named_modules() if isinstance(m, kinds)}


@pytest.mark.parametrize(("depth", "count"), PARAMETERS.items())
def test_parameters_are_those_of_torchvision(depth, count):
    model = on_meta(depth, stem="imagenet", num_classes=1000)
    assert sum(p.numel() for p in model.parameters()) == count
    small = on_meta(depth, stem="cifar", num_classes=1000)
    assert sum(p.numel() for p in small.parameters()) == count - 64 * 3 * (49 - 9)


@pytest.mark.parametrize("depth", LAYOUTS)
def test_the_depth_counts_the_layers_of_a_path(depth):
    found = layers(on_meta(depth), nn.Conv2d, nn.Linear)
    shortcuts = [name for name in found if "downsample" in name]
    assert len(found) - len(shortcuts) == depth
    # Stages 2 to 4 change the shape; with bottlenecks stage 1 does too.
    assert len(shortcuts) == (4 if depth >= 50 else 3)


def test_prunable_weights_of_resnet50_are_the_published_ones():
    # PROTOCOLS section 1: every Conv2d weight but conv1, not fc.
    model = on_meta(50)
    found = layers(model, nn.Conv2d)
    convolutions = {f"{name}.weight": m.weight.numel() for name, m in found.items()}
    assert convolutions.pop("conv1.weight") == 64 * 3 * 9
    stages = models.blocks_of(model)
    counts = {
        stage: sum(n for name, n in convolutions.items() if fnmatchcase(name, globs[0]))
        for stage, globs in stages.items()
    }
    assert counts == {
        "stage1": 212_992,
        "stage2": 1_212_416,
        "stage3": 7_077_888,
        "stage4": 14_942_208,
    }
    assert sum(counts.values()) == sum(convolutions.values()) == 23_445_504


def test_masks_take_linear_and_convolution_weights_unless_told():
    model = models.build("resnet18")
    every = sum(m.weight.numel() for m in layers(model, nn.Conv2d, nn.Linear).values())
    assert Masks(model).total == every
    stages = sum(m.weight.numel() for m in layers(model, nn.Conv2d).values()) - 64 * 3 * 9
    assert Masks(model, exclude=["conv1.*", "fc.*"]).total == stages


def test_parameter_names_are_torchvisions():
    names = set(on_meta(50).state_dict())
    bn = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"conv1.weight", "fc.weight", "fc.bias"} | {f"bn1.{b}" for b in bn}
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            for i in (1, 2, 3):
                expected |= {f"{at}.conv{i}.weight"} | {f"{at}.bn{i}.{b}" for b in bn}
        at = f"layer{stage}.0.downsample"
        expected |= {f"{at}.0.weight"} | {f"{at}.1.{b}" for b in bn}
    assert names == expected


def hugging_face(depth, in_channels, classes):
    """transformers' ResNet: written independently, by people who reproduce torchvision's."""
    transformers = pytest.importorskip("transformers")
    block, counts = LAYOUTS[depth]
    config = transformers.ResNetConfig(
        num_channels=in_channels,
        depths=list(counts),
        hidden_sizes=[width * block.expansion for width in (64, 128, 256, 512)],
        layer_type="basic" if block.expansion == 1 else "bottleneck",
        num_labels=classes,
    )
    return transformers.ResNetForImageClassification(config)


@pytest.mark.parametrize("depth", [26, 50])
def test_forward_is_that_of_another_implementation(depth):
    torch.manual_seed(0)
    theirs = hugging_face(depth, 1, 3).double().eval()
    ours = models.build(f"resnet{depth}", stem="imagenet", in_channels=1, num_classes=3)
    ours = ours.double().eval()
    for m in layers(theirs, nn.BatchNorm2d).values():
        nn.init.normal_(m.bias, std=0.1)
        nn.init.uniform_(m.running_var, 0.5, 2)
    with torch.no_grad():
        state = theirs.state_dict()
        # Both register the branch before or after the shortcut: match by name, not by order.
        renamed = {translate(name): value for name, value in state.items()}
        ours.load_state_dict(renamed)
        x = torch.randn(2, 1, 37, 33, dtype=torch.float64)
        torch.testing.assert_close(ours(x), theirs(x).logits)


def translate(name):
    """Hugging Face's name of a tensor to torchvision's, for this test alone."""
    parts = name.split(".")
    kinds = {"convolution": "conv", "normalization": "bn"}
    if parts[0] == "classifier":
        return f"fc.{parts[-1]}"
    if parts[1] == "embedder":
        return f"{kinds[parts[3]]}1.{parts[-1]}"
    stage, block = int(parts[3]) + 1, parts[5]
    if parts[6] == "shortcut":
        return f"layer{stage}.{block}.downsample.{int(parts[7] == 'normalization')}.{parts[-1]}"
    return f"layer{stage}.{block}.{kinds[parts[8]]}{int(parts[7]) + 1}.{parts[-1]}"


@pytest.mark.parametrize(
    ("stem", "size", "kept"), [("cifar", 8, 8), ("imagenet", 8, 2), ("imagenet", 9, 3)]
)
def test_stems(stem, size, kept):
    model = models.build("resnet18", stem=stem, num_classes=7).eval()
    seen = []
    model.get_submodule("layer1").register_forward_hook(lambda m, x, y: seen.append(y.shape))
    assert model(torch.zeros(1, 3, size, size)).shape == (1, 7)
    assert seen == [(1, 64, kept, kept)]


def test_initial_weights_have_the_published_distribution():
    torch.manual_seed(0)
    model = models.build("resnet18")
    for name, m in layers(model, nn.Conv2d).items():
        fan_out = m.weight.numel() // m.in_channels
        scaled = m.weight.detach() * math.sqrt(fan_out / 2)  # N(0, 1) if He's section 2.2
        spread = 5 / math.sqrt(scaled.numel())
        assert abs(scaled.mean()) < spread, name
        assert abs(scaled.std() - 1) < spread, name
    norms = layers(model, nn.BatchNorm2d).values()
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in norms)
    bound = 1 / math.sqrt(512)  # torch.nn.Linear's own
    assert 0.95 * bound < model.fc.weight.abs().max() <= bound


def test_bn_gamma_uniform():
    gamma = torch.cat(
        [
            m.weight.detach()
            for m in layers(models.build("resnet18", bn_gamma="uniform"), nn.BatchNorm2d).values()
        ]
    )
    assert 0 <= gamma.min() < 0.01
    assert 0.99 < gamma.max() <= 1


@pytest.mark.parametrize("depth", [20, 152])
def test_depths_outside_the_family_are_refused(depth):
    with pytest.raises(ValueError, match=rf"depth: {depth} is not one of 18, 26, 34, 50, 101"):
        imagenet_resnet(depth)


@pytest.mark.gpu
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_the_backward_pass_is_deterministic_on_cuda(stem):
    pytest.importorskip("pydantic")
    from impcore.imp.determinism import deterministic

    def gradients():
        torch.manual_seed(0)
        model = models.build("resnet18", stem=stem).cuda()
        x = torch.randn(8, 3, 64, 64, device="cuda")
        model(x).square().sum().backward()
        return [p.grad.cpu() for p in model.parameters()]

    with deterministic(0):
        assert all(map(torch.equal, gradients(), gradients()))
