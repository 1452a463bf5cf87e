// Integers of the host on the device without a copy: they travel as arguments of launches, so that
// a captured CUDA graph holds them and no host memory must outlive the call.
#include <algorithm>

#include "common.cuh"

namespace impcore::cuda {

namespace {

// A kernel's parameters take 4 KB at most.
constexpr int kPerLaunch = 448;

struct Payload {
  int64_t values[kPerLaunch];
};

__global__ void write(const __grid_constant__ Payload payload, int count, int64_t* out) {
  for (int i = int(threadIdx.x); i < count; i += int(blockDim.x)) out[i] = payload.values[i];
}

}  // namespace

void upload(const std::vector<int64_t>& values, int64_t* out, Stream stream) {
  for (size_t start = 0; start < values.size(); start += kPerLaunch) {
    const size_t count = std::min(values.size() - start, size_t(kPerLaunch));
    Payload payload = {};
    std::copy_n(values.begin() + int64_t(start), count, payload.values);
    launch(write, 1, kThreads, stream, payload, int(count), out + start);
  }
}

}  // namespace impcore::cuda
