// The emulator of cuda_host/ on kernels whose results are known, and on kernels that are wrong.
// Prints "ok", or the first check that failed; "control" is a check that must fail.
#include <cstdio>
#include <numeric>
#include <set>
#include <vector>

#define CHECK(condition) check(condition, #condition, __LINE__)

namespace {

void check(bool good, const char* what, int line) {
  if (good) return;
  std::printf("cuda_host_test.cu:%d: %s\n", line, what);
  std::exit(1);
}

constexpr int kBlock = 256;

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int delta = 16; delta > 0; delta /= 2) value += __shfl_down_sync(~0u, value, delta);
  return value;
}

template <class T>
__global__ void __launch_bounds__(kBlock)
    sum(const T* __restrict__ in, int64_t n, T* partials, unsigned* tickets, T* out) {
  __shared__ T warps[kBlock / 32];
  __shared__ bool last;
  T mine = 0;
  for (int64_t i = blockIdx.x * int64_t(kBlock) + threadIdx.x; i < n;
       i += int64_t(gridDim.x) * kBlock) {
    mine += __ldg(in + i);
  }
  mine = warp_sum(mine);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = mine;
  __syncthreads();
  if (threadIdx.x == 0) {
    T total = 0;
    for (const T w : warps) total += w;
    partials[blockIdx.x] = total;
    __threadfence();
    last = atomicAdd(tickets, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  T total = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) total += __ldcg(partials + b);
  *out = total;
}

template <class T>
void test_sum() {
  for (const int grid : {1, 3, 8}) {
    std::vector<T> in(5000), partials(size_t(grid), T(0));
    std::iota(in.begin(), in.end(), T(1));
    T out = 0;
    unsigned tickets = 0;
    cuda_host::launch(sum<T>, grid, kBlock, in.data(), 5000, partials.data(), &tickets, &out);
    CHECK(out == T(5000) * 5001 / 2);
  }
}

__global__ void shuffles(int* up, int* down, int* across, int* index, unsigned* votes) {
  const int lane = int(threadIdx.x), width = 8;
  up[lane] = __shfl_up_sync(~0u, lane, 3, width);
  down[lane] = __shfl_down_sync(~0u, lane, 3, width);
  across[lane] = __shfl_xor_sync(~0u, lane, 5, width);
  index[lane] = __shfl_sync(~0u, lane * int64_t(1) << 33, lane + 1, width) >> 33;
  // Two halves of a warp, each at an intrinsic of its own.
  if (lane < 16) {
    votes[lane] = __ballot_sync(0xffffu, lane % 2);
  } else {
    votes[lane] = unsigned(__any_sync(0xffff0000u, lane == 40) + 2 * __all_sync(0xffff0000u, lane));
  }
  __syncwarp();
}

void test_warp() {
  int up[32], down[32], across[32], index[32];
  unsigned votes[32];
  cuda_host::launch(shuffles, 1, 32, up, down, across, index, votes);
  for (int i = 0; i < 32; ++i) {
    CHECK(up[i] == (i % 8 < 3 ? i : i - 3));
    CHECK(down[i] == (i % 8 > 4 ? i : i + 3));
    CHECK(across[i] == (i ^ 5));
    CHECK(index[i] == i / 8 * 8 + (i + 1) % 8);
    CHECK(votes[i] == (i < 16 ? 0xaaaau : 2u));
  }
}

__global__ void barriers(int* out) {
  const int i = int(threadIdx.x);
  const int counted = __syncthreads_count(i % 3 == 0);
  const int some = __syncthreads_or(i == 70), none = __syncthreads_or(0);
  const int all = __syncthreads_and(1), most = __syncthreads_and(i != 70);
  out[i] = counted * 16 + some * 8 + none * 4 + all * 2 + most;
}

void test_barriers() {
  std::vector<int> out(99);
  cuda_host::launch(barriers, 1, 99, out.data());
  for (const int x : out) CHECK(x == 33 * 16 + 8 + 2);
}

__global__ void bits(unsigned* out) {
  out[0] = unsigned(__popc(0xf0f0u) + __popcll(1ull << 40) * 10 + __ffs(8) * 100);
  out[1] = unsigned(__clz(1) + __clz(0) * 100);
  out[2] = __brev(0x80000001u << 1);
  out[3] = atomicMax(out + 4, 7u) + atomicExch(out + 4, 9u) + atomicCAS(out + 4, 9u, 11u);
  out[5] = unsigned(min(3, 4u) + max(int64_t(5), 6));
}

void test_functions() {
  unsigned out[6] = {0, 0, 0, 0, 5, 0};
  cuda_host::launch(bits, 1, 1, out);
  CHECK(out[0] == 8 + 10 + 400);
  CHECK(out[1] == 31 + 3200);
  CHECK(out[2] == 0x40000000u);
  CHECK(out[3] == 5 + 7 + 9 && out[4] == 11);
  CHECK(out[5] == 3 + 6);
}

// Wrong kernels.

__global__ void order(unsigned* next, unsigned* out) {
  out[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(next, 1u);
}
[[maybe_unused]] __global__ void uninitialised(int* out) {
  __shared__ int counts[64];
  if (threadIdx.x == 5) counts[5] = 1;
  __syncthreads();
  out[threadIdx.x] = counts[threadIdx.x];
}
__global__ void race(int* out) {
  __shared__ int shared[64];
  shared[threadIdx.x] = int(threadIdx.x);
  out[threadIdx.x] = shared[63 - threadIdx.x];  // no barrier in between
}
// The ticket is taken before what it stands for is written.
[[maybe_unused]] __global__ void early(int* parts, unsigned* tickets, int* out) {
  __shared__ bool last;
  if (threadIdx.x == 0) last = atomicAdd(tickets, 1u) == gridDim.x - 1;
  __syncthreads();
  if (threadIdx.x == 0) parts[blockIdx.x] = 1;
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  *out = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) *out += parts[b];
}
__global__ void awaits(unsigned from) {
  if (threadIdx.x >= from) ++cuda_host::awaits;
}
__global__ void leaves() {
  if (threadIdx.x == 40) return;
  __syncthreads();
}
__global__ void two_barriers() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void divergent() {
  if (threadIdx.x != 7) __syncwarp();
}
__global__ void crossed(int* out) {
  *out = threadIdx.x < 16 ? __shfl_sync(~0u, 1, 0) : __shfl_xor_sync(~0u, 1, 1);
}
__global__ void unnamed(int* out) {
  if (threadIdx.x < 16) *out = __shfl_xor_sync(0xffffu, 1, 16);
}
__global__ void not_in_mask() {
  if (threadIdx.x == 3) __syncwarp(1);
}

template <class... P, class... A>
std::string error_of(int64_t grid, int64_t block, void (*kernel)(P...), A... arguments) {
  try {
    cuda_host::launch(kernel, grid, block, arguments...);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

void test_orders_are_shuffled() {
  std::set<std::vector<unsigned>> orders, firsts;
  for (int seed = 0; seed < 20; ++seed) {
    cuda_host_seed(uint64_t(seed));
    std::vector<unsigned> out(4 * 64);
    unsigned next = 0;
    cuda_host::launch(order, 4, 64, &next, out.data());
    CHECK(std::set<unsigned>(out.begin(), out.end()).size() == out.size());
    orders.insert(out);
    std::vector<unsigned> blocks;
    for (size_t b = 0; b < 4; ++b) blocks.push_back(out[64 * b] / 64);
    firsts.insert(blocks);
  }
  CHECK(orders.size() == 20);
  CHECK(firsts.size() > 5);
}

void test_every_thread_awaits_the_launches_before() {
  cuda_host::launch_next(awaits, 3, 32, 0u);
  bool refused = false;
  try {
    cuda_host::launch_next(awaits, 3, 32, 1u);
  } catch (const std::runtime_error& error) {
    refused = has(error.what(), "did not wait");
  }
  CHECK(refused);
}

void test_blocks_take_turns() {
#if !defined(__SANITIZE_ADDRESS__)
  bool missed = false;
  for (int seed = 0; seed < 20; ++seed) {
    cuda_host_seed(uint64_t(seed));
    int parts[5] = {}, out = 0;
    unsigned tickets = 0;
    cuda_host::launch(early, 5, 64, parts, &tickets, &out);
    missed = missed || out != 5;
  }
  CHECK(missed);
#endif
}

void test_wrong_kernels_show() {
  std::vector<int> out(64, 0);
#if !defined(__SANITIZE_ADDRESS__)
  cuda_host::launch(uninitialised, 1, 64, out.data());
  CHECK(out[5] == 1 && out[6] != 0);
#endif
  cuda_host::launch(race, 1, 64, out.data());
  bool right = true;
  for (int i = 0; i < 64; ++i) right = right && out[size_t(i)] == 63 - i;
  CHECK(!right);
  CHECK(has(error_of(1, 64, leaves), "deadlock"));
  CHECK(has(error_of(1, 64, leaves), "threads 40 to 40: exited"));
  CHECK(has(error_of(1, 64, leaves), "wait at __syncthreads, "));
  CHECK(has(error_of(1, 64, two_barriers), "different barriers"));
  CHECK(has(error_of(1, 32, divergent), "deadlock"));
  CHECK(has(error_of(1, 32, divergent), "wait at __syncwarp"));
  CHECK(has(error_of(1, 16, divergent), "deadlock"));
  CHECK(has(error_of(1, 32, crossed, out.data()), "different intrinsics"));
  CHECK(has(error_of(1, 32, unnamed, out.data()), "the mask does not name"));
  CHECK(has(error_of(1, 32, not_in_mask), "does not name the calling lane"));
  CHECK(has(error_of(0, 32, not_in_mask), "invalid launch of 0 blocks"));
  CHECK(has(error_of(1, 1025, not_in_mask), "invalid launch"));
  CHECK(error_of(1, 1, not_in_mask).empty());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string(argv[1]) == "control") CHECK(false);
  test_sum<int>();
  test_sum<double>();
  test_warp();
  test_barriers();
  test_functions();
  test_orders_are_shuffled();
  test_every_thread_awaits_the_launches_before();
  test_blocks_take_turns();
  test_wrong_kernels_show();
  test_sum<float>();  // and right kernels run after wrong ones
  std::puts("ok");
}
