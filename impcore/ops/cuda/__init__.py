"""Every op by the CUDA kernels (csrc/cuda). Signatures are those of the registered ops.

Invariant: no op reads from the device or copies to it; each can be captured in a CUDA graph.
"""
