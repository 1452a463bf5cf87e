// One fault of each kind, for a sanitizer to find: `planted memcheck` (or another tool's name).
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>

namespace impcore {

__global__ void write_beyond(int* out) { out[threadIdx.x + 64] = 1; }

__global__ void race(int* out) {
  __shared__ int shared[64];
  shared[threadIdx.x] = int(threadIdx.x);
  out[threadIdx.x] = shared[63 - threadIdx.x];
}

__global__ void read_unwritten(const int* in, int* out) { out[threadIdx.x] = in[threadIdx.x] + 1; }

__global__ void half_a_barrier(int* out) {
  if (threadIdx.x % 2 == 0) __syncthreads();
  out[threadIdx.x] = 1;
}

}  // namespace impcore

int main(int argc, char** argv) {
  int *out = nullptr, *in = nullptr;
  if (argc != 2 || cudaMalloc(&out, 64 * sizeof(int)) != cudaSuccess ||
      cudaMalloc(&in, 64 * sizeof(int)) != cudaSuccess) {
    return 2;
  }
  if (!std::strcmp(argv[1], "memcheck")) impcore::write_beyond<<<1, 64>>>(out);
  if (!std::strcmp(argv[1], "racecheck")) impcore::race<<<1, 64>>>(out);
  if (!std::strcmp(argv[1], "initcheck")) impcore::read_unwritten<<<1, 64>>>(in, out);
  if (!std::strcmp(argv[1], "synccheck")) impcore::half_a_barrier<<<1, 64>>>(out);
  cudaDeviceSynchronize();
  std::puts("done");
  return 0;
}
