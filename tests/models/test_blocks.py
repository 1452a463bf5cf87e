from fnmatch import fnmatchcase

import pytest
import torch
from torch import nn

from impcore import models


def owners(patterns, name):
    return [b for b, globs in patterns.items() if any(fnmatchcase(name, g) for g in globs)]


@pytest.mark.parametrize("arch", models.ARCHITECTURES)
@pytest.mark.parametrize("granularity", ["stage", "block"])
def test_each_parameter_of_a_stage_has_one_owner_and_the_rest_none(arch, granularity):
    with torch.device("meta"):
        model = models.build(arch)
    patterns = models.blocks_of(model, granularity)
    owned = {name: owners(patterns, name) for name, _ in model.named_parameters()}
    for name, found in owned.items():
        assert len(found) == (1 if name.startswith("layer") else 0), name
    assert {b for found in owned.values() for b in found} == set(patterns)


def test_names_and_order():
    model = models.build("resnet14")
    assert models.blocks_of(model) == {f"stage{i}": [f"layer{i}.*"] for i in (1, 2, 3)}
    assert models.blocks_of(model, "block") == {
        f"layer{i}.{j}": [f"layer{i}.{j}.*"] for i in (1, 2, 3) for j in (0, 1)
    }


def test_unknown_granularity_is_quoted():
    with pytest.raises(ValueError, match=r"granularity: 'layer' is neither 'stage' nor 'block'"):
        models.blocks_of(models.build("resnet14"), "layer")


def test_wrappers_are_looked_through():
    model = models.build("resnet14")
    plain = models.blocks_of(model)
    assert models.blocks_of(nn.DataParallel(model)) == plain
    assert models.blocks_of(torch.compile(model)) == plain
    assert models.blocks_of(torch.compile(nn.DataParallel(torch.compile(model)))) == plain


def test_distributed_data_parallel_is_looked_through(tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        model = models.build("resnet14")
        wrapped = nn.parallel.DistributedDataParallel(model)
        assert models.blocks_of(wrapped, "block") == models.blocks_of(model, "block")
    finally:
        torch.distributed.destroy_process_group()


def test_a_model_that_does_not_say_its_blocks_is_refused():
    class Silent(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.Sequential(nn.Linear(2, 2))

    with pytest.raises(TypeError, match=r"Silent does not say.*block_patterns\(granularity\)"):
        models.blocks_of(Silent())


def test_any_class_can_say_its_blocks():
    class Talking(nn.Linear):
        def block_patterns(self, granularity):
            return {granularity: ["weight"]}

    model = Talking(2, 2)
    assert isinstance(model, models.HasBlocks)
    assert models.blocks_of(model, "all") == {"all": ["weight"]}


def test_the_head_of_a_resnet_is_its_classifier():
    assert models.head_of(torch.compile(models.build("resnet14"))) == ["fc.*"]
    with pytest.raises(TypeError, match=r"Linear does not say what its head is.*head_patterns\(\)"):
        models.head_of(nn.Linear(2, 2))
