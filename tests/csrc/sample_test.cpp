// Checks that the bracket of a sample holds the k-th smallest key, and few others, where the
// weights are alike, differ from filter to filter, are partly dead, or come in few values. Prints
// the first failure and exits with 1.
#include "../../csrc/cpu/topk_mask_sample.h"
#include "sample_model.h"

using namespace impcore;
using namespace impcore::cpu;

namespace {

// A model's sampler, with room for so many candidates for certain.
struct Sampled {
  std::vector<int64_t> pointers, memory;
  Weights all;
  Workspace work;
  Sampler<Float32> sampler;

  Sampled(const Model& model, int64_t room)
      : pointers(addresses(model)),
        memory(size_t(needed(model) / 8 + 1)),
        all{DType::kFloat32, model.chunks.data(), int64_t(model.chunks.size()), pointers},
        work(memory.data(), all.chunks, all.num_chunks),
        sampler(all, model.mask.data(), work, 2) {
    work.pool.pages = int32_t(room / CandidatePool::kPage + work.num_runs);
  }

  static std::vector<int64_t> addresses(const Model& model) {
    std::vector<int64_t> found;
    for (const auto& tensor : model.weights) found.push_back(int64_t(tensor.data()));
    return found;
  }
  static int64_t needed(const Model& model) {
    return Workspace(nullptr, model.chunks.data(), int64_t(model.chunks.size())).bytes;
  }
};

// How many alive keys lie strictly inside the bracket for k, which must hold the k-th smallest. So
// must the brackets that follow, for the same k and as if the first had missed another one.
int64_t inside(Model& model, int64_t k) {
  Sampled sampled(model, 1 << 24);
  Sampler<Float32>& sampler = sampled.sampler;
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
  // In the second model no tensor has two whole places of the sample, but a second one nearly.
  for (const std::vector<int64_t>& numels :
       {std::vector<int64_t>{1 << 20, 300000, 5000, 77}, std::vector<int64_t>(400, 9900)}) {
    Model model(numels, 0, 1, 1, 0);
    const double total = double(model.keys.size());
    for (double of : {0.02, 0.2, 0.5, 0.9, 0.999}) {
      const int64_t k = share(model, of);
      const double samples = total / double(sample_share(int64_t(total)));
      const int64_t found = inside(model, k);
      CHECK(found > 0 && double(found) < 13 * std::sqrt(of * (1 - of) / samples) * total + 300);
    }
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

// With room for a fraction of what the sample's error asks for, brackets miss or hold too many; but
// what their scans have counted makes the third do.
void test_little_room() {
  for (int round = 0; round < 64; ++round) {
    Model model({200000}, 1, 256, 1, 0);
    const int64_t room = 8000, k = share(model, round % 2 ? 0.2 : 0.5);
    Sampled sampled(model, room);
    Bracket bracket = sampled.sampler.bracket(k);
    const auto does = [&] { return model.holds(bracket, k) && model.inside(bracket) <= room; };
    for (int more = 0; more < 2 && !does(); ++more) {
      bracket = sampled.sampler.again(k, model.up_to_lo(bracket), model.inside(bracket));
    }
    CHECK(does());
  }
}

void test_a_small_model_has_room_for_all() {
  for (int64_t numel : {1, 100, 5000, 15000}) {
    const Model model({numel, 3}, 0, 1, 1, 0);
    CHECK(Workspace(nullptr, model.chunks.data(), 2).room() >= numel + 3);
  }
  const Model model({200000}, 0, 1, 1, 0);
  const int64_t room = Workspace(nullptr, model.chunks.data(), int64_t(model.chunks.size())).room();
  CHECK(10000 < room && room < 20000);
}

// Tensors with two places of the sample, whose weights are independent, say nothing of those with
// one, whose filters differ.
void test_lone_places_of_another_kind() {
  for (int round = 0; round < 8; ++round) {
    Model model(std::vector<int64_t>(60, 7000), 0, 1, 1, 0);
    model.add(Model(std::vector<int64_t>(100, 6000), 1, 256, 1, 0));
    for (double of : {0.2, 0.5, 0.8, 0.95}) inside(model, share(model, of));
  }
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
  test_little_room();
  test_few_values();
  test_lone_places_of_another_kind();
  test_a_small_model_has_room_for_all();
  std::puts("ok");
}
