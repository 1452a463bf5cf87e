// CUDA C++ as our kernels use it, for g++: a .cu file compiled with `-x c++ -include cuda_host.h`
// runs on the host, unchanged.
//
// Every thread of a block is a fiber; a few blocks run in turns, which change where their threads
// wait. All orders are shuffled (cuda_host_seed), shared memory is poisoned before each block, and
// whatever would hang or be undefined on a device (a barrier that a thread has left, a warp
// intrinsic that a named lane does not reach) throws std::runtime_error with the file and line.
// Only what the kernels use is here: a missing name is a compile error, not a silent difference.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>

#define IMPCORE_CUDA_HOST 1

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __noinline__
#define __forceinline__ inline __attribute__((always_inline))
// Thread-local, so that the runtime finds all of it in one place, can poison it, and give each
// block its own. AddressSanitizer puts its red zones around plain statics only: then blocks run one
// after another.
#if defined(__SANITIZE_ADDRESS__)
#define __shared__ static
#else
#define __shared__ static __thread
#endif

// Vectors, aligned as on a device.
#define CUDA_HOST_VECTOR2(name, type, alignment) \
  struct alignas(alignment) name {               \
    type x, y;                                   \
  };                                             \
  inline name make_##name(type x, type y) { return name{x, y}; }
#define CUDA_HOST_VECTOR4(name, type, alignment) \
  struct alignas(alignment) name {               \
    type x, y, z, w;                             \
  };                                             \
  inline name make_##name(type x, type y, type z, type w) { return name{x, y, z, w}; }
CUDA_HOST_VECTOR2(uint2, unsigned, 8)
CUDA_HOST_VECTOR2(ushort2, unsigned short, 4)
CUDA_HOST_VECTOR2(double2, double, 16)
CUDA_HOST_VECTOR4(uint4, unsigned, 16)
CUDA_HOST_VECTOR4(int4, int, 16)
CUDA_HOST_VECTOR4(float4, float, 16)
CUDA_HOST_VECTOR4(ushort4, unsigned short, 8)
CUDA_HOST_VECTOR4(uchar4, unsigned char, 4)
#undef CUDA_HOST_VECTOR2
#undef CUDA_HOST_VECTOR4

// One-dimensional launches only.
struct CudaHostIndex {
  unsigned x;
};
extern CudaHostIndex threadIdx, blockIdx, blockDim, gridDim;

// The runtime API, as far as launchers need it.
struct CUstream_st;
using cudaStream_t = CUstream_st*;
enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16, cudaDevAttrComputeCapabilityMajor = 75 };
enum cudaFuncAttribute { cudaFuncAttributePreferredSharedMemoryCarveout = 9 };

inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess ? "no error" : "invalid argument";
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaPeekAtLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  // Multiprocessors: few, and no power of two.
  *value = attribute == cudaDevAttrMultiProcessorCount ? 3 : 9;
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int, size_t) {
  *blocks = 2;
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t = nullptr) {
  std::memset(to, value, bytes);
  return cudaSuccess;
}

namespace cuda_host {

// Where in the kernels a thread waits.
struct Site {
  const char* file;
  int line;
};
#define CUDA_HOST_SITE cuda_host::Site site = {__builtin_FILE(), __builtin_LINE()}

enum class Warp { kSync, kIndex, kUp, kDown, kXor, kBallot };

// Blocks the thread until all threads of the block are there; the sum of their values.
int barrier(int value, const char* name, Site site);

// Blocks the thread until all lanes of the mask are there; what the operation gives this lane.
uint64_t warp(Warp operation, unsigned mask, uint64_t value, int operand, int width, Site site);

void run(int64_t grid, int64_t block, const std::function<void()>& thread);

// How many threads of all launches so far have waited for the launches before.
inline int64_t awaits = 0;

// kernel<<<grid, block>>>(arguments...)
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t grid, int64_t block, Arguments&&... arguments) {
  static_assert((0 + ... + sizeof(Parameters)) <= 4096, "a kernel's parameters take 4 KB at most");
  const std::tuple<std::decay_t<Parameters>...> copies(std::forward<Arguments>(arguments)...);
  run(grid, block, [&] { std::apply(kernel, copies); });
}

// Likewise, for a launch that may take its place before the one before it ends: an error unless all
// its threads wait for that.
template <class... Parameters, class... Arguments>
void launch_next(void (*kernel)(Parameters...), int64_t grid, int64_t block,
                 Arguments&&... arguments) {
  const int64_t before = awaits;
  launch(kernel, grid, block, std::forward<Arguments>(arguments)...);
  if (awaits - before != grid * block) {
    throw std::runtime_error("CUDA emulator: a thread did not wait for the launches before");
  }
}

template <class T>
uint64_t bits_of(T value) {
  static_assert(std::is_arithmetic<T>::value && (sizeof(T) == 4 || sizeof(T) == 8),
                "shuffles move 4 or 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace cuda_host

inline void __syncthreads(CUDA_HOST_SITE) { cuda_host::barrier(0, "__syncthreads", site); }
inline int __syncthreads_count(int predicate, CUDA_HOST_SITE) {
  return cuda_host::barrier(predicate != 0, "__syncthreads_count", site);
}
inline int __syncthreads_or(int predicate, CUDA_HOST_SITE) {
  return cuda_host::barrier(predicate != 0, "__syncthreads_or", site) != 0;
}
inline int __syncthreads_and(int predicate, CUDA_HOST_SITE) {
  return cuda_host::barrier(predicate != 0, "__syncthreads_and", site) == int(blockDim.x);
}

inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_HOST_SITE) {
  cuda_host::warp(cuda_host::Warp::kSync, mask, 0, 0, 32, site);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_HOST_SITE) {
  return unsigned(cuda_host::warp(cuda_host::Warp::kBallot, mask, predicate != 0, 0, 32, site));
}
inline int __any_sync(unsigned mask, int predicate, CUDA_HOST_SITE) {
  return __ballot_sync(mask, predicate, site) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_HOST_SITE) {
  return __ballot_sync(mask, predicate, site) == mask;
}
#define CUDA_HOST_SHUFFLE(name, operation)                                                   \
  template <class T>                                                                         \
  T name(unsigned mask, T value, int operand, int width = 32, CUDA_HOST_SITE) {              \
    return cuda_host::from_bits<T>(cuda_host::warp(                                          \
        cuda_host::Warp::operation, mask, cuda_host::bits_of(value), operand, width, site)); \
  }
CUDA_HOST_SHUFFLE(__shfl_sync, kIndex)
CUDA_HOST_SHUFFLE(__shfl_up_sync, kUp)
CUDA_HOST_SHUFFLE(__shfl_down_sync, kDown)
CUDA_HOST_SHUFFLE(__shfl_xor_sync, kXor)
#undef CUDA_HOST_SHUFFLE

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(unsigned(x)); }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (x >> i & 1) << (31 - i);
  return reversed;
}

// Fibers are switched at barriers and warp intrinsics alone, so plain code is atomic. The types are
// the device's: int64_t* and uint64_t* are refused, as nvcc does.
#define CUDA_HOST_ATOMIC(name, type, expression) \
  inline type name(type* at, type value) {       \
    const type old = *at;                        \
    *at = expression;                            \
    return old;                                  \
  }
#define CUDA_HOST_ATOMICS(type)                               \
  CUDA_HOST_ATOMIC(atomicAdd, type, old + value)              \
  CUDA_HOST_ATOMIC(atomicMax, type, std::max(old, value))     \
  CUDA_HOST_ATOMIC(atomicMin, type, std::min(old, value))     \
  CUDA_HOST_ATOMIC(atomicOr, type, old | value)               \
  CUDA_HOST_ATOMIC(atomicAnd, type, old& value)               \
  CUDA_HOST_ATOMIC(atomicExch, type, value)                   \
  inline type atomicCAS(type* at, type compare, type value) { \
    const type old = *at;                                     \
    if (old == compare) *at = value;                          \
    return old;                                               \
  }
CUDA_HOST_ATOMICS(int)
CUDA_HOST_ATOMICS(unsigned)
CUDA_HOST_ATOMICS(unsigned long long)
#undef CUDA_HOST_ATOMICS
#undef CUDA_HOST_ATOMIC

inline void __threadfence() {}

// Loads and stores with a hint for the caches.
template <class T>
T __ldg(const T* at) {
  return *at;
}
template <class T>
T __ldcs(const T* at) {
  return *at;
}
template <class T>
T __ldcg(const T* at) {
  return *at;
}
template <class T>
void __stcs(T* at, T value) {
  *at = value;
}
template <class T>
void __stcg(T* at, T value) {
  *at = value;
}

using std::isfinite;

// Global min and max, of mixed integer types too.
template <class A, class B>
constexpr std::common_type_t<A, B> min(A a, B b) {
  using T = std::common_type_t<A, B>;
  return T(b) < T(a) ? T(b) : T(a);
}
template <class A, class B>
constexpr std::common_type_t<A, B> max(A a, B b) {
  using T = std::common_type_t<A, B>;
  return T(a) < T(b) ? T(b) : T(a);
}

extern "C" void cuda_host_seed(uint64_t seed);
