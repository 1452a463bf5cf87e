import math

import pytest
import torch
from torch import nn

from impcore import models
from impcore.models.resnet_cifar import cifar_resnet

# PROTOCOLS: weights of all Conv2d and Linear layers of the ElasticLTH networks.
PRUNABLE = {14: 174_128, 20: 270_896, 32: 464_432, 44: 657_968, 56: 851_504}


def layers(model, *kinds):
    return {name: m for name, m in model.named_modules() if isinstance(m, kinds)}


@pytest.mark.parametrize(("depth", "count"), PRUNABLE.items())
def test_prunable_weights_are_those_of_the_published_networks(depth, count):
    found = layers(models.build(f"resnet{depth}"), nn.Conv2d, nn.Linear)
    assert sum(m.weight.numel() for m in found.values()) == count
    # `depth` counts the layers on the path of one input: all but the two shortcuts.
    assert len(found) == depth + 2


def test_parameter_names_are_torchvisions():
    names = set(models.build("resnet20").state_dict())
    bn = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"conv1.weight", "fc.weight", "fc.bias"} | {f"bn1.{b}" for b in bn}
    for stage in (1, 2, 3):
        for block in range(3):
            at = f"layer{stage}.{block}"
            for i in (1, 2):
                expected |= {f"{at}.conv{i}.weight"} | {f"{at}.bn{i}.{b}" for b in bn}
        if stage > 1:
            at = f"layer{stage}.0.downsample"
            expected |= {f"{at}.0.weight"} | {f"{at}.1.{b}" for b in bn}
    assert names == expected


def reference(state, x):
    """The network as the papers draw it, in evaluation mode, on functionals alone."""

    def norm(x, at):
        moments = state[f"{at}.running_mean"], state[f"{at}.running_var"]
        return nn.functional.batch_norm(x, *moments, state[f"{at}.weight"], state[f"{at}.bias"])

    def conv(x, at, stride=1, padding=1):
        return nn.functional.conv2d(x, state[f"{at}.weight"], None, stride, padding)

    x = norm(conv(x, "conv1"), "bn1").relu()
    for at in [name.removesuffix(".conv1.weight") for name in state if ".conv1.weight" in name]:
        stride = 2 if f"{at}.downsample.0.weight" in state else 1
        y = norm(conv(x, f"{at}.conv1", stride), f"{at}.bn1").relu()
        y = norm(conv(y, f"{at}.conv2"), f"{at}.bn2")
        if stride == 2:
            x = norm(conv(x, f"{at}.downsample.0", 2, 0), f"{at}.downsample.1")
        x = (x + y).relu()
    return x.flatten(2).mean(2) @ state["fc.weight"].T + state["fc.bias"]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_forward_is_the_residual_network(memory_format):
    torch.manual_seed(0)
    model = models.build("resnet14", in_channels=2).double().eval()
    for m in layers(model, nn.BatchNorm2d).values():
        nn.init.normal_(m.bias)
        nn.init.normal_(m.running_mean)
        nn.init.uniform_(m.running_var, 0.5, 2)
    state = {name: t.clone() for name, t in model.state_dict().items()}
    x = torch.randn(3, 2, 9, 11, dtype=torch.float64)
    got = model.to(memory_format=memory_format)(x.contiguous(memory_format=memory_format))
    torch.testing.assert_close(got, reference(state, x))


def test_initial_weights_have_the_published_distribution():
    torch.manual_seed(0)
    model = models.build("resnet56")
    for name, m in layers(model, nn.Conv2d, nn.Linear).items():
        scaled = m.weight.detach() * math.sqrt(m.weight[0].numel() / 2)  # N(0, 1) if He's eq. 10
        spread = 5 / math.sqrt(scaled.numel())
        assert abs(scaled.mean()) < spread, name
        assert abs(scaled.std() - 1) < spread, name
    gamma = torch.cat([m.weight.detach() for m in layers(model, nn.BatchNorm2d).values()])
    assert 0 <= gamma.min() < 0.01
    assert 0.99 < gamma.max() <= 1
    assert abs(gamma.mean() - 0.5) < 5 * math.sqrt(1 / 12 / len(gamma))
    assert all((m.bias == 0).all() for m in layers(model, nn.BatchNorm2d).values())


def test_bn_gamma_ones_leaves_the_scales_at_one():
    model = models.build("resnet14", bn_gamma="ones")
    assert all((m.weight == 1).all() for m in layers(model, nn.BatchNorm2d).values())


@pytest.mark.parametrize("depth", [2, 13, 18])
def test_depths_outside_the_family_are_refused(depth):
    with pytest.raises(ValueError, match=rf"depth: {depth} is not 6 D \+ 2"):
        cifar_resnet(depth)
