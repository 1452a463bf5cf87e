"""What every call into the native module needs."""

import torch

from impcore.ops import native


def test_addresses_are_those_of_the_first_elements():
    whole = torch.arange(10.0)
    assert native.addresses([whole, whole[3:]]) == [whole.data_ptr(), whole.data_ptr() + 12]
