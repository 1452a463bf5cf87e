"""Every op by Triton kernels. Signatures are those of the registered ops.

Invariant: no op reads from the device or copies to it, and the launches depend on the plan alone,
so that each can be captured in a CUDA graph. Offsets are 64-bit; a program writes to mask words and
weights of its own alone.
"""
