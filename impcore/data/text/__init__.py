"""Text: GLUE, SQuAD v1.1, WikiText and the prose that comes with Python, as batches of tokens.

Invariant: `TEXT_DATASETS` in `impcore.data` names them all; nothing here imports PyTorch or the
optional libraries of the extra `hf` before a data set is loaded.
"""
