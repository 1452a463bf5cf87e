"""One step of SGD by the CUDA kernel: its arithmetic."""

from ..test_masked_sgd import test_a_step_rounds_the_float64_step_once

__all__ = ["test_a_step_rounds_the_float64_step_once"]  # collected here too
