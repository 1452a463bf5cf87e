from __future__ import annotations

import pytest
import torch

from impcore.data.transfer import to_device


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_what_arrives_is_what_was_drawn(device: str) -> None:
    drawn = torch.randperm(1000)
    arrived = to_device(drawn, torch.device(device))
    assert arrived.device.type == device
    assert torch.equal(arrived.cpu(), drawn)
