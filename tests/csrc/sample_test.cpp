// Checks that the bracket of a sample holds the k-th smallest key, and few others, where the
// weights are alike, differ from filter to filter, are partly dead, or come in few values. Prints
// the first failure and exits with 1.
#include "../../csrc/cpu/topk_mask_sample.h"
#include "sample_model.h"

using namespace impcore;
using namespace impcore::cpu;

namespace {

// How many alive keys lie strictly inside the bracket for k, which must hold the k-th smallest. So
// must the brackets that follow, for the same k and as if the first had missed another one.
int64_t inside(Model& model, int64_t k) {
  std::vector<int64_t> pointers;
  for (const auto& tensor : model.weights) pointers.push_back(int64_t(tensor.data()));
  const Chunk* chunks = model.chunks.data();
  const int64_t num_chunks = int64_t(model.chunks.size());
  const Weights all{DType::kFloat32, chunks, num_chunks, pointers};
  std::vector<int64_t> memory(size_t(Workspace(nullptr, chunks, num_chunks).bytes / 8 + 1));
  Workspace work(memory.data(), chunks, num_chunks);
  work.pool.pages = 1 << 20;  // with less room the brackets are narrower, and may miss
  Sampler<Float32> sampler(all, model.mask.data(), work, 2);
  const Bracket bracket = sampler.bracket(k);
  CHECK(model.holds(bracket, k));
  const int64_t up_to_lo = model.up_to_lo(bracket), found = model.inside(bracket);
  CHECK(model.holds(sampler.again(k, up_to_lo, found), k));
  sampler.bracket(k);
  const int64_t other = std::min<int64_t>(k + k / 10 + 1, int64_t(model.keys.size()));
  CHECK(model.holds(sampler.again(other, up_to_lo, found), other));
  return found;
}

void test_independent_weights_give_few_candidates() {
  Model model({1 << 20, 300000, 5000, 77}, 0, 1, 1, 0);
  for (double of : {0.02, 0.2, 0.5, 0.9, 0.999}) {
    const int64_t k = share(model, of);
    const double samples = double(model.keys.size()) / 64;
    const double width = 10 * std::sqrt(of * (1 - of) / samples) * double(model.keys.size());
    const int64_t found = inside(model, k);
    CHECK(found > 0 && double(found) < 1.3 * width + 300);
  }
}

// With the margin of independent draws a third of these would miss.
void test_filters_of_different_scale() {
  for (int round = 0; round < 16; ++round) {
    Model model({250000, 70000}, 2, 256, 1, 0);
    inside(model, share(model, round % 2 ? 0.2 : 0.7));
  }
}

void test_unevenly_dead_filters() {
  for (int round = 0; round < 16; ++round) {
    Model model({250000, 70000}, 0.5, 512, 0.1, 0);
    inside(model, share(model, round % 2 ? 0.2 : 1));
  }
}

void test_small_and_many_tensors() {
  for (int round = 0; round < 100; ++round) {
    Model model({1 + random_source.below(300), 1 + random_source.below(9000)}, 1, 64, 1, 0);
    inside(model, 1 + random_source.below(int64_t(model.keys.size())));
  }
  Model model(std::vector<int64_t>(2000, 100), 1, 50, 1, 0);
  for (double of : {0.1, 0.5, 0.99}) inside(model, share(model, of));
}

void test_few_values() {
  for (int digits : {1, 4, 30}) {
    Model model({500000}, 0, 1, 1, digits);
    for (double of : {0.01, 0.3, 0.6, 1.0}) inside(model, share(model, of));
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
