import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from impcore import models


@pytest.mark.parametrize("arch", models.ARCHITECTURES)
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 8, 10), (3, 32, 100)])
def test_every_architecture_maps_images_to_logits(arch, channels, size, classes):
    with torch.device("meta"):
        model = models.build(arch, in_channels=np.int64(channels), num_classes=classes)
        logits = model(torch.zeros(2, channels, size, size))
    assert logits.shape == (2, classes)
    assert logits.dtype == torch.float32


def test_the_global_generator_alone_decides_the_weights():
    def weights(seed):
        torch.manual_seed(seed)
        return models.build("resnet14").state_dict()

    first, same, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert not torch.equal(first["bn1.weight"], other["bn1.weight"])


@pytest.mark.parametrize(("arch", "near"), [("resnet-20", "resnet20"), ("Resnet56", "resnet56")])
def test_unknown_architecture_lists_the_valid_ones_and_the_nearest(arch, near):
    with pytest.raises(ValueError, match=rf"arch.*'{arch}'.*nearest: '{near}'.*resnet14, resnet20"):
        models.build(arch)


@pytest.mark.parametrize("arch", ["brt", ["bert"]])
def test_unknown_text_architecture_likewise(arch):
    sizes = dict.fromkeys(("hidden_size", "layers", "heads", "intermediate_size"), 2)
    given = {"task": "mlm", "num_classes": 1, "vocab_size": 9}
    found = re.escape(f"arch: no text architecture {arch!r} (nearest: 'bert'); valid: bert")
    with pytest.raises(ValueError, match=found):
        models.build_text(arch, **given, **sizes)
    with pytest.raises(ValueError, match=found):
        models.load_text(arch, ".", **given)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stem", "imagenet"),
        ("stem", "vgg"),
        ("num_classes", 0),
        ("num_classes", True),
        ("in_channels", 1.5),
        ("in_channels", -1),
        ("bn_gamma", "zeros"),
        ("arch", 20),
    ],
)
def test_bad_arguments_are_named_and_quoted(field, value):
    with pytest.raises(ValueError, match=f"{field}.*{value}"):
        models.build(**{"arch": "resnet14", field: value})


def test_names_are_known_without_importing_torch():
    code = "import sys, impcore.models as m; print(len(m.ARCHITECTURES), 'torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == [str(len(models.ARCHITECTURES)), "False"]
