"""How many threads a native CPU op uses."""

from __future__ import annotations

import torch

# 262,144 weights: a pass over them is over in about a tenth of a millisecond.
GRAIN = 8192


def threads(words: int) -> int:
    """How many threads an op over so many mask words uses.

    At most torch's setting, which a DataLoader worker has at 1; and no more than have GRAIN words
    each: all wait for the last, which on a busy machine takes far longer than a small op.
    """
    return max(1, min(torch.get_num_threads(), words // GRAIN))
