"""One step of AdamW by the CUDA kernels: its arithmetic."""

from ..test_masked_adamw import test_a_step_rounds_the_float64_step_once

__all__ = ["test_a_step_rounds_the_float64_step_once"]  # collected here too
