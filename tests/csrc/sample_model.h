// Random models for the tests of the sample: weights that are alike in a filter, partly dead
// filters, few values; and what a bracket should hold.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "../../csrc/keys.h"
#include "../../csrc/plan.h"
#include "check.h"

namespace impcore {

inline Random random_source;

inline double uniform() { return (double(random_source.next() >> 11) + 0.5) / 9007199254740992.0; }

inline double normal() {
  return std::sqrt(-2 * std::log(uniform())) * std::cos(2 * 3.141592653589793 * uniform());
}

// Tensors with their masks. A filter's weights have a scale of their own, and only `density` of
// each filter's weights, itself a random share of twice that, are alive.
struct Model {
  std::vector<std::vector<uint32_t>> weights;
  std::vector<Chunk> chunks;
  std::vector<uint32_t> mask;
  std::vector<uint32_t> keys;  // of the alive

  Model(std::vector<int64_t> numels, double spread, int64_t filter, double density, int digits) {
    std::vector<int64_t> blocks(numels.size(), 0);
    chunks.resize(size_t(count_chunks(numels.data(), int64_t(numels.size()))));
    fill_chunks(numels.data(), blocks.data(), int64_t(numels.size()), chunks.data());
    for (int64_t numel : numels) {
      const size_t word = mask.size();
      mask.resize(word + size_t(words_of(numel)), 0);
      weights.emplace_back();
      double scale = 1, alive = 1;
      for (int64_t i = 0; i < numel; ++i) {
        if (i % filter == 0) {
          scale = std::exp(spread * normal());
          alive = density < 1 ? 2 * density * uniform() : 1;
        }
        double value = scale * normal();
        if (digits > 0) value = std::round(value * digits) / digits;
        weights.back().push_back(bits_of_float(float(value)));
        if (uniform() >= alive) continue;
        mask[word + size_t(i / 32)] |= 1u << (i % 32);
        keys.push_back(Float32::key(weights.back().back()));
      }
    }
  }

  // Takes over the tensors of another, behind its own.
  void add(const Model& other) {
    for (Chunk chunk : other.chunks) {
      chunk.tensor += int64_t(weights.size());
      chunk.word += int64_t(mask.size());
      chunks.push_back(chunk);
    }
    weights.insert(weights.end(), other.weights.begin(), other.weights.end());
    mask.insert(mask.end(), other.mask.begin(), other.mask.end());
    keys.insert(keys.end(), other.keys.begin(), other.keys.end());
  }

  // How many alive keys lie up to the bracket's lower end, and strictly inside it.
  int64_t up_to_lo(Bracket bracket) const {
    return std::count_if(keys.begin(), keys.end(), [&](uint32_t key) { return key <= bracket.lo; });
  }
  int64_t inside(Bracket bracket) const {
    return std::count_if(keys.begin(), keys.end(),
                         [&](uint32_t key) { return bracket.lo < key && key < bracket.hi; });
  }

  bool holds(Bracket bracket, int64_t k) {
    std::nth_element(keys.begin(), keys.begin() + (k - 1), keys.end());
    const uint32_t threshold = keys[size_t(k - 1)];
    return bracket.lo <= threshold && threshold <= bracket.hi;
  }
};

inline int64_t share(const Model& model, double of) {
  return std::max<int64_t>(int64_t(of * double(model.keys.size())), 1);
}

}  // namespace impcore
