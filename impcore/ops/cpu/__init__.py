"""Every op by the native CPU kernels (csrc/cpu). Signatures are those of the registered ops."""
