// CUB's DeviceTopK as C functions (cub.py): the k smallest of flat float32 keys, unsorted.
#include <cuda_runtime.h>

#include <cstdint>
#include <cub/device/device_topk.cuh>
#include <limits>

namespace {

template <class Size>
cudaError_t smallest(void* scratch, size_t& bytes, const float* keys, float* out, int64_t count,
                     int64_t k, cudaStream_t stream) {
  auto demands = cuda::execution::require(cuda::execution::determinism::not_guaranteed,
                                          cuda::execution::output_ordering::unsorted);
  auto env = cuda::std::execution::env{cuda::stream_ref{stream}, demands};
  return cub::DeviceTopK::MinKeys(scratch, bytes, keys, out, Size(count), Size(k), env);
}

}  // namespace

// With a null scratch only the bytes that it needs are written. Returns a cudaError_t.
extern "C" int cub_smallest(void* scratch, size_t* bytes, const float* keys, float* out,
                            int64_t count, int64_t k, void* stream) {
  auto s = static_cast<cudaStream_t>(stream);
  // Offsets of 32 bits where they do, as a user of CUB would have it.
  return count <= std::numeric_limits<int32_t>::max()
             ? smallest<int32_t>(scratch, *bytes, keys, out, count, k, s)
             : smallest<int64_t>(scratch, *bytes, keys, out, count, k, s);
}
