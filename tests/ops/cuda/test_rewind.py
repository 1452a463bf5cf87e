"""theta <- m ? source : +0 by the CUDA kernel, on any bits."""

from ..test_rewind import test_any_bits_are_selected_and_never_computed_with

__all__ = ["test_any_bits_are_selected_and_never_computed_with"]  # collected here too
