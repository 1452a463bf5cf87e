// Marks what runs on the host and on a GPU.
#pragma once

#if defined(__CUDACC__)
#define IMPCORE_HD __host__ __device__ __forceinline__
#else
#define IMPCORE_HD inline __attribute__((always_inline))
#endif
