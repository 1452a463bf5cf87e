"""The first layers that networks of images may have.

Invariant: importing this module does not import PyTorch.
"""

from __future__ import annotations

STEMS = ("cifar", "imagenet")
"""The stems that some architecture takes: "cifar" is a 3x3 convolution of stride 1 without a pool,
"imagenet" a 7x7 convolution of stride 2 and a max-pool. The CIFAR family has only the first.
"""
