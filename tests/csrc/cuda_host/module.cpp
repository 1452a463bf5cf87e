// The CUDA ops of the binding over the emulator: a stand-in for impcore._C.cuda on host tensors.
#include <pybind11/pybind11.h>

#include "../../../csrc/bindings_cuda.h"

extern "C" void cuda_host_seed(uint64_t seed);

PYBIND11_MODULE(cuda_on_host, m) {
  bind_cuda(m);
  m.def("seed", cuda_host_seed);
}
