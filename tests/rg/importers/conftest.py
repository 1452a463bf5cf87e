"""Tiny runs in the exact file formats of other code bases, and what their flow must be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch


@dataclass
class Truth:
    """Weights and masks of every state by name, and the flow counted one weight at a time."""

    weights: list[dict[str, torch.Tensor]]
    masks: list[dict[str, torch.Tensor]]
    rewound: dict[str, torch.Tensor]

    @property
    def remaining(self):
        return [int(sum(mask.sum() for mask in state.values())) for state in self.masks]

    def share(self, blocks, what="M", weights=None):
        """[states, blocks] of plain Python sums; blocks: list of lists of names."""
        rows = []
        for n, masks in enumerate(self.masks):
            values = self.weights[n] if weights is None else weights
            sums = []
            for names in blocks:
                total = 0.0
                for name in names:
                    pairs = (masks[name].flatten().tolist(), values[name].flatten().tolist())
                    for m, w in zip(*pairs, strict=True):
                        total += (abs(w) if what == "M" else 1.0) if m else 0.0
                sums.append(total)
            rows.append(np.array(sums) / sum(sums))
        return np.array(rows)


def make_truth(shapes, states, *, seed=3, dust=True):
    """Random weights under nested random masks; under a mask lies rubbish, as in life."""
    generator = torch.Generator().manual_seed(seed)
    masks = {name: torch.ones(shape) for name, shape in shapes.items()}
    rewound = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    all_weights, all_masks = [], []
    for n in range(states):
        if n:
            masks = {
                name: mask * (torch.rand(mask.shape, generator=generator) < 0.8)
                for name, mask in masks.items()
            }
            first = next(iter(masks))
            masks[first].view(-1)[n] = 0  # at least one goes
            masks[first].view(-1)[-1] = 1 if n < states else 0  # and one stays
        weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        if dust:
            for name, mask in masks.items():
                weights[name][mask == 0] = float("nan") if n % 2 else 0.125
        all_weights.append(weights)
        all_masks.append({name: mask.clone() for name, mask in masks.items()})
    return Truth(all_weights, all_masks, rewound)


RESNET = {
    "layer1.0.conv1.weight": (4, 3, 3, 3),
    "layer1.1.conv1.weight": (4, 4, 3, 3),
    "layer2.0.conv1.weight": (8, 4, 3, 3),
    "layer2.0.downsample.0.weight": (8, 4, 1, 1),
    "layer3.0.conv1.weight": (8, 8, 3, 3),
    "layer4.0.conv1.weight": (8, 8, 3, 3),
}


@pytest.fixture
def resnet():
    return make_truth(RESNET, 4)


STAGES = [
    ["layer1.0.conv1.weight", "layer1.1.conv1.weight"],
    ["layer2.0.conv1.weight", "layer2.0.downsample.0.weight"],
    ["layer3.0.conv1.weight"],
    ["layer4.0.conv1.weight"],
]
OTHERS = {"conv1.weight": (4, 3, 3, 3), "fc.weight": (10, 8), "bn1.weight": (4,)}


def pruned_state_dict(truth, n):
    """As torch.nn.utils.prune leaves it: plain at state 0, then X_orig and X_mask."""
    tensors = {name: torch.ones(shape) for name, shape in OTHERS.items()}
    for name, weight in truth.weights[n].items():
        if n == 0:
            tensors[name] = weight
        else:
            tensors[name + "_orig"], tensors[name + "_mask"] = weight, truth.masks[n][name]
    return tensors
