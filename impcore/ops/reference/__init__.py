"""Every op again, in plain NumPy and obviously right.

Tests and benchmarks compare against it, and IMPCORE_BACKEND=reference runs it. Signatures are those
of the registered ops.
"""
