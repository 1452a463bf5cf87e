"""All tests of this package run on the emulated CUDA backend."""

import pytest

from ..emulation import cuda_on_host


@pytest.fixture(autouse=True, scope="module", params=[0, 1], ids="order{}".format)
def emulator(request):
    with cuda_on_host(request.param) as module:
        yield module
