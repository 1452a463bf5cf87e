// Checks that the bracket of a sample holds the k-th smallest key, and few others, where the
// weights are alike, differ from filter to filter, are partly dead, or come in few values. Prints
// the first failure and exits with 1.
#include <cmath>
#include <vector>

#include "../../csrc/cpu/topk_mask_sample.h"
#include "check.h"

using namespace impcore;
using namespace impcore::cpu;

namespace {

Random random_source;

double uniform() { return (double(random_source.next() >> 11) + 0.5) / 9007199254740992.0; }

double normal() {
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

  // How many alive keys lie strictly inside the bracket for k, which must hold the k-th smallest.
  // So must the brackets that follow, for the same k and as if the first had missed another one.
  int64_t inside(int64_t k) {
    std::vector<int64_t> pointers;
    for (const auto& tensor : weights) pointers.push_back(int64_t(tensor.data()));
    const int64_t num_chunks = int64_t(chunks.size());
    const Weights all{DType::kFloat32, chunks.data(), num_chunks, pointers};
    std::vector<int64_t> memory(
        size_t(Workspace(nullptr, chunks.data(), num_chunks).bytes / 8 + 1));
    Workspace work(memory.data(), chunks.data(), num_chunks);
    Sampler<Float32> sampler(all, mask.data(), work, 2);
    const Bracket bracket = sampler.bracket(k);
    CHECK(holds(bracket, k));
    const int64_t up_to_lo =
        std::count_if(keys.begin(), keys.end(), [&](uint32_t key) { return key <= bracket.lo; });
    const int64_t inside = std::count_if(keys.begin(), keys.end(), [&](uint32_t key) {
      return bracket.lo < key && key < bracket.hi;
    });
    CHECK(holds(sampler.again(k, up_to_lo, inside), k));
    sampler.bracket(k);
    const int64_t other = std::min<int64_t>(k + k / 10 + 1, int64_t(keys.size()));
    CHECK(holds(sampler.again(other, up_to_lo, inside), other));
    return inside;
  }

  bool holds(Bracket bracket, int64_t k) {
    std::nth_element(keys.begin(), keys.begin() + (k - 1), keys.end());
    const uint32_t threshold = keys[size_t(k - 1)];
    return bracket.lo <= threshold && threshold <= bracket.hi;
  }
};

int64_t share(const Model& model, double of) {
  return std::max<int64_t>(int64_t(of * double(model.keys.size())), 1);
}

void test_independent_weights_give_few_candidates() {
  Model model({1 << 20, 300000, 5000, 77}, 0, 1, 1, 0);
  for (double of : {0.02, 0.2, 0.5, 0.9, 0.999}) {
    const int64_t k = share(model, of);
    const double samples = double(model.keys.size()) / 64;
    const double width = 10 * std::sqrt(of * (1 - of) / samples) * double(model.keys.size());
    const int64_t inside = model.inside(k);
    CHECK(inside > 0 && double(inside) < 1.3 * width + 300);
  }
}

// With the margin of independent draws a third of these would miss.
void test_filters_of_different_scale() {
  for (int round = 0; round < 16; ++round) {
    Model model({250000, 70000}, 2, 256, 1, 0);
    model.inside(share(model, round % 2 ? 0.2 : 0.7));
  }
}

void test_unevenly_dead_filters() {
  for (int round = 0; round < 16; ++round) {
    Model model({250000, 70000}, 0.5, 512, 0.1, 0);
    model.inside(share(model, round % 2 ? 0.2 : 1));
  }
}

void test_small_and_many_tensors() {
  for (int round = 0; round < 100; ++round) {
    Model model({1 + random_source.below(300), 1 + random_source.below(9000)}, 1, 64, 1, 0);
    model.inside(1 + random_source.below(int64_t(model.keys.size())));
  }
  Model model(std::vector<int64_t>(2000, 100), 1, 50, 1, 0);
  for (double of : {0.1, 0.5, 0.99}) model.inside(share(model, of));
}

void test_few_values() {
  for (int digits : {1, 4, 30}) {
    Model model({500000}, 0, 1, 1, digits);
    for (double of : {0.01, 0.3, 0.6, 1.0}) model.inside(share(model, of));
  }
}

}  // namespace

int main() {
  test_independent_weights_give_few_candidates();
  test_filters_of_different_scale();
  test_unevenly_dead_filters();
  test_small_and_many_tensors();
  test_few_values();
  std::puts("ok");
}
