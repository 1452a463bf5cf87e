"""Every op by Triton kernels. Signatures are those of the registered ops.

Invariant: no op reads from the device or waits for it, and the launches depend on the plan alone,
so that each can be captured in a CUDA graph; it has run once before, to compile its kernels and to
bring its tables there. Offsets are 64-bit; a program writes to mask words and weights of its own
alone. Programs meet only in sums of integers, and in the ticket of a launch's last program.
"""
