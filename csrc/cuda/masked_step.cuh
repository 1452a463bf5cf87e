// What the optimisers' steps share: one pass in tiles over many tensors.
//
// Addresses and sizes travel as a launch's arguments, so that nothing is copied and a captured CUDA
// graph holds them; lists that do not fit into one launch take several. Where the mask is 0
// all-zero bits are stored, and a pack that is dead as a whole is not read.
#pragma once

#include <algorithm>

#include "../floats.h"
#include "../step_scalars.h"
#include "common.cuh"

namespace impcore::cuda {

#include "../step_rules.inc"

// float64 weights have no masks; a model's few float64 parameters may still be stepped.
struct Float64 {
  using Bits = uint64_t;
};

template <class T>
struct Value {
  using Type = Scalar<float>;
  using Bits = typename T::Bits;
  static __device__ __forceinline__ Type load(Bits bits) { return Type{widen(T{}, bits)}; }
  static __device__ __forceinline__ Bits store(Type x) { return Bits(narrow_to(T{}, x.value)); }
};

template <>
struct Value<Float64> {
  using Type = Scalar<double>;
  static __device__ __forceinline__ Type load(uint64_t bits) {
    Type x;
    memcpy(&x.value, &bits, sizeof bits);
    return x;
  }
  static __device__ __forceinline__ uint64_t store(Type x) {
    uint64_t bits;
    memcpy(&bits, &x.value, sizeof bits);
    return bits;
  }
};

// Calls f(T{}) for every dtype that can be stepped.
template <class F>
void with_step_dtype(DType dtype, const F& f) {
  if (dtype == DType::kFloat64) return f(Float64{});
  with_dtype(dtype, f);
}

__device__ __forceinline__ double value_of(const Number& number) {
  return number.is_double ? *static_cast<const double*>(number.at)
                          : double(*static_cast<const float*>(number.at));
}

// Whether GradScaler found infinities; NaN counts as yes.
__device__ __forceinline__ bool is_skipped(const float* found_inf) {
  return found_inf != nullptr && *found_inf != 0;
}

// Some consecutive tensors of a step: rows are the weights, the gradients, and each state.
template <int kStates>
struct StepTable {
  static constexpr int kRows = 2 + kStates;
  static constexpr int kBytes = 4096 - 256;  // of a kernel's parameters, less what else it is given
  static constexpr int kTensors = kBytes / (8 * kRows + 8 + 8 + 4);

  int64_t rows[kRows][kTensors];
  int64_t numels[kTensors];
  int64_t words[kTensors];
  int32_t tiles[kTensors + 1];  // before each tensor; the last entry: of all
  int32_t first;                // the first tensor's place in the caller's lists
  const uint32_t* mask;

  // The table of the tensors from `start` on, as many as fit.
  StepTable(const StepTensors& t, size_t start) : tiles{0}, first(int32_t(start)), mask(t.mask) {
    const size_t count = std::min(t.numels.size() - start, size_t(kTensors));
    for (size_t i = 0; i < size_t(kTensors); ++i) {
      const bool used = i < count;
      rows[0][i] = used ? t.weights[start + i] : 0;
      rows[1][i] = used ? t.grads[start + i] : 0;
      for (int s = 0; s < kStates; ++s) {
        rows[2 + s][i] = used ? t.states[size_t(s)][start + i] : 0;
      }
      numels[i] = used ? t.numels[start + i] : 0;
      words[i] = used ? t.words[start + i] : -1;
      tiles[i + 1] = tiles[i] + int32_t(ceil_div(numels[i], kTile));
    }
  }

  // The last tensor that begins at or before a tile (empty ones have none).
  __device__ __forceinline__ int tensor_of(int tile) const {
    int low = 0, high = kTensors;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (tiles[middle] <= tile) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

// A warp's span of one tensor's tile.
template <class T, int kStates>
struct StepSpan {
  using Bits = typename T::Bits;
  using S = Span<Bits>;
  static constexpr int kRows = 2 + kStates;
  Bits* rows[kRows];
  int length;     // elements; none or fewer beyond the tensor's end
  int in_packs;   // so many of them, from the first on, can be read 16 bytes at once
  uint32_t word;  // this lane's; 0 beyond the end

  __device__ __forceinline__ StepSpan(const StepTable<kStates>& table, int tensor) {
    const int64_t tile = int64_t(blockIdx.x) - table.tiles[tensor];
    const int64_t start = tile * kTile + threadIdx.x / kLanes * kWarpSpan;
    bool aligned = true;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      rows[r] = reinterpret_cast<Bits*>(table.rows[r][tensor]) + start;
      aligned = aligned && is_aligned(rows[r]);
    }
    length = int(min(table.numels[tensor] - start, int64_t(kWarpSpan)));
    in_packs = aligned ? length / S::kPack * S::kPack : 0;
    const int lane = int(threadIdx.x) % kLanes;
    const int left = length - lane * int(kWordBits);
    word = left >= int(kWordBits) ? ~0u : left > 0 ? (1u << left) - 1 : 0;
    const int64_t first = table.words[tensor];
    if (first >= 0 && word != 0) word &= table.mask[first + start / kWordBits + lane];
  }

  template <class Step>
  __device__ __forceinline__ void run(const Step& step) const {
    const uint32_t packs = S::packs_of(word);
    for (int s = 0; s < S::kSteps; ++s) {
      const unsigned alive = packs >> (s * S::kPack) & S::kPackBits;
      const int at = s * S::kStep + int(threadIdx.x) % kLanes * S::kPack;
      if (at < in_packs) {
        pack(step, at, alive);
      } else {
        const int end = min(at + S::kPack, length);
#pragma unroll 1
        for (int i = at; i < end; ++i) one(step, i, alive >> (i - at) & 1);
      }
    }
  }

 private:
  // One weight's row of values, after a step.
  template <class Step>
  static __device__ __forceinline__ void update(const Step& step, Bits* values) {
    using V = Value<T>;
    typename V::Type states[kStates + 1];
#pragma unroll
    for (int r = 0; r < kStates; ++r) states[r] = V::load(values[2 + r]);
    values[0] = V::store(step(V::load(values[0]), V::load(values[1]), states));
#pragma unroll
    for (int r = 0; r < kStates; ++r) values[2 + r] = V::store(states[r]);
  }

  template <class Step>
  __device__ __forceinline__ void pack(const Step& step, int at, unsigned alive) const {
    Pack<Bits> packs[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) packs[r] = load(rows[r] + at, alive, true);
    if (alive != 0) {
#pragma unroll
      for (int j = 0; j < S::kPack; ++j) {
        Bits values[kRows];
#pragma unroll
        for (int r = 0; r < kRows; ++r) values[r] = packs[r].values[j];
        update(step, values);
#pragma unroll
        for (int r = 0; r < kRows; ++r) packs[r].values[j] = alive >> j & 1 ? values[r] : 0;
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r != 1) store(rows[r] + at, packs[r], S::kPack, true);
    }
  }

  // What does not fill a pack, or is not aligned to 16 bytes.
  template <class Step>
  __device__ __forceinline__ void one(const Step& step, int at, bool lives) const {
    Bits values[kRows] = {};
    if (lives) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) values[r] = rows[r][at];
      update(step, values);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (r != 1) rows[r][at] = values[r];
    }
  }
};

// Blocks that a multiprocessor holds at least: as many as leave enough registers that none spill.
constexpr int resident_blocks(int states) { return states < 2 ? 4 : 2; }

// One step of all tensors of a table. Rule: what makes the step of a tensor, on the device.
template <class T, class Rule>
__global__ void __launch_bounds__(kThreads, resident_blocks(Rule::kStates))
    step_tile(const __grid_constant__ StepTable<Rule::kStates> table,
              const __grid_constant__ typename Rule::Options options) {
  if (is_skipped(options.found_inf)) return;
  const int tensor = table.tensor_of(int(blockIdx.x));
  const StepSpan<T, Rule::kStates> span(table, tensor);
  if (span.length <= 0) return;
  span.run(Rule::template step<typename Value<T>::Type>(options, table.first + tensor));
}

template <class T, class Rule>
void launch_steps(const StepTensors& tensors, const typename Rule::Options& options,
                  Stream stream) {
  using Table = StepTable<Rule::kStates>;
  for (size_t start = 0; start < tensors.numels.size(); start += Table::kTensors) {
    const Table table(tensors, start);
    launch(step_tile<T, Rule>, table.tiles[Table::kTensors], kThreads, stream, table, options);
  }
}

}  // namespace impcore::cuda
