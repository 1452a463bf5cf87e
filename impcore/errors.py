"""Every typed error of impcore, so that callers can catch them by meaning.

Invariant: an error is raised before anything has been changed. Its message names the parameter,
key or file, quotes the value, and says what would be right.
"""

from __future__ import annotations


class ImpcoreError(Exception):
    """Base of all errors that impcore defines."""


class NonFiniteError(ImpcoreError, ValueError):
    """Alive weights, or their scores, hold NaN or infinity and cannot be ranked."""


class LayerCollapseError(ImpcoreError, ValueError):
    """A prune would leave a parameter fewer weights than it is to keep; the message names it."""


class BackendError(ImpcoreError, RuntimeError):
    """No kernel backend of this build serves the request, or the forced one does not exist."""


class LayoutError(ImpcoreError, ValueError):
    """A tensor's memory layout is not dense and non-overlapping, or tensors overlap in memory."""


class ModelChangedError(ImpcoreError, RuntimeError):
    """A model no longer has the parameters that its masks were made for."""


class ConfigError(ImpcoreError, ValueError):
    """A recipe or an override is wrong; the message lists every fault with its dotted key."""


class MissingExtraError(ImpcoreError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""


class DataError(ImpcoreError, ValueError):
    """A data set's files are missing or malformed; the message names the file."""


class TokenizerError(DataError):
    """What a tokenizer is to be read from holds none of use; the message names it."""


class CheckpointError(ImpcoreError, RuntimeError):
    """A checkpoint is damaged, or belongs to another run."""


class TicketError(ImpcoreError, ValueError):
    """A ticket file is damaged, or does not fit the model."""


class RunDirectoryError(ImpcoreError, RuntimeError):
    """A run directory is in use, unwritable, or holds something else."""


class DistributedError(ImpcoreError, RuntimeError):
    """The processes of one run are not alike, or one of them has ended."""


class InvariantError(ImpcoreError, RuntimeError):
    """The engine's own check failed after a prune or a rewind; the run stops instead of lying."""
