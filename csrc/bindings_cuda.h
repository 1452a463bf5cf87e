// The CUDA half of the binding.
#pragma once

#include <pybind11/pybind11.h>

// Fills the submodule _C.cuda.
void bind_cuda(pybind11::module_& m);
