// Checks, on emulated threads, that the bracket of the CUDA selection's sample holds the k-th
// smallest key, so that one read of the weights does, where they are alike, differ from filter to
// filter, are partly dead, or come in few values. Prints the first failure and exits with 1.
#include "../../csrc/cuda/topk_mask_finish.cuh"
#include "../../csrc/cuda/topk_mask_sample.cuh"
#include "../../csrc/cuda/topk_mask_scan.cuh"
#include "sample_model.h"

using namespace impcore;
using namespace impcore::cuda;

namespace {

// A selection from a model in a dtype, as far as its first steps.
template <class T>
class Selection {
 public:
  using Bits = typename T::Bits;

  Selection(Model* model, int64_t k) : model_(*model), k_(k), mask_out_(model->mask.size()) {
    constexpr int kShift = 32 - 8 * int(sizeof(Bits));
    for (const auto& tensor : model->weights) {
      weights_.emplace_back();
      for (uint32_t bits : tensor) weights_.back().push_back(Bits(bits >> kShift));
      pointers_.push_back(int64_t(weights_.back().data()));
      job_.total += int64_t(tensor.size());
    }
    for (uint32_t& key : model->keys) key = T::key(Bits(key >> kShift));
    job_.num_chunks = int64_t(model->chunks.size());
    memory_.resize(size_t(Workspace(nullptr, job_.num_chunks, job_.total).bytes), char(0x5a));
    const Workspace work(memory_.data(), job_.num_chunks, job_.total);
    std::fill_n(memory_.begin(), work.cleared, char(0));
    job_.chunks = model->chunks.data();
    job_.num_tiles = job_.num_chunks * kTilesPerChunk;
    job_.place = kPlace<T>;
    job_.share = sample_share(job_.total);
    job_.pointers = pointers_.data();
    job_.mask_in = model->mask.data();
    job_.mask_out = mask_out_.data();
    job_.k = &k_;
    job_.status = &status_;
    job_.state = work.state;
    job_.bins = work.bins;
    job_.tiles = work.tiles;
    job_.keys = work.keys;
    job_.offsets = work.offsets;
    job_.capacity = work.capacity;
  }

  // The sample's bracket, or a given one.
  void bracket(const Bracket* forced = nullptr) {
    const Bracket given = forced == nullptr ? Bracket{0, 0} : *forced;
    cuda_host::launch(sample<T>, job_.num_chunks, kThreads, job_, given, forced != nullptr);
    cuda_host::launch(refine, 3, kThreads, job_, kLo1);
    cuda_host::launch(refine, 3, kThreads, job_, kLo2);
  }
  void read() { cuda_host::launch(scan<T>, job_.num_tiles, kThreads, job_); }
  void step(int number) { cuda_host::launch(cuda::step<T>, 3, kThreads, job_, number); }

  const State& state() const { return *job_.state; }
  int64_t capacity() const { return job_.capacity; }

  // How many alive keys lie strictly inside the sample's bracket, which holds the k-th smallest.
  int64_t inside() {
    bracket();
    CHECK(model_.holds(state().bracket(), k_));
    const int64_t found = model_.inside(state().bracket());
    CHECK(found <= capacity());
    return found;
  }

 private:
  Model& model_;
  int64_t k_, status_ = 77;
  std::vector<std::vector<Bits>> weights_;
  std::vector<int64_t> pointers_;
  std::vector<uint32_t> mask_out_;
  std::vector<char> memory_;
  Job job_ = {};
};

template <class T>
int64_t inside(Model& model, int64_t k) {
  return Selection<T>(&model, k).inside();
}

// Nor do filters of about the same scale.
void test_independent_weights_give_few_candidates() {
  for (double spread : {0.0, 0.2}) {
    Model model({1 << 20, 300000, 5000, 77}, spread, 256, 1, 0);
    for (double of : {0.02, 0.2, 0.5, 0.9, 0.999}) {
      const int64_t k = share(model, of);
      const double samples = double(model.keys.size()) / 64;
      const double width = 8 * std::sqrt(of * (1 - of) / samples) * double(model.keys.size());
      const int64_t found = inside<Float32>(model, k);
      CHECK(found > 0 && double(found) < 1.3 * width + 300);
    }
  }
}

// With 8.5 standard errors of independent draws, and places of 32 weights, some of these miss; with
// 4 of them, and no measured spread, too.
template <class T>
void test_one_read_does_for_filters_of_different_scale() {
  for (int round = 0; round < 12; ++round) {
    Model model({190000, 70000}, 8, 256, 1, 0);
    const int64_t k = share(model, round % 2 ? 0.2 : 0.7);
    Selection<T> selection(&model, k);
    selection.inside();
    selection.read();
    CHECK(selection.state().mode != Mode::kExact);
    // Half types come in few values: then the threshold may be an end of the bracket.
    CHECK(sizeof(typename T::Bits) < 4 || selection.state().mode == Mode::kInside);
  }
}

void test_unevenly_dead_filters() {
  for (int round = 0; round < 12; ++round) {
    Model model({250000, 70000}, 0.5, 512, 0.1, 0);
    inside<Float32>(model, share(model, round % 2 ? 0.2 : 1));
  }
}

void test_small_and_many_tensors() {
  for (int round = 0; round < 60; ++round) {
    Model model({1 + random_source.below(300), 1 + random_source.below(9000)}, 1, 64, 1, 0);
    inside<Float32>(model, 1 + random_source.below(int64_t(model.keys.size())));
  }
  Model model(std::vector<int64_t>(900, 100), 1, 50, 1, 0);
  for (double of : {0.1, 0.5, 0.99}) inside<Float32>(model, share(model, of));
}

// A value that many weights share is not a candidate: there would be no room.
void test_few_values() {
  for (int digits : {1, 4, 30}) {
    Model model({500000}, 0, 1, 1, digits);
    for (double of : {0.01, 0.3, 0.6, 1.0}) inside<Float32>(model, share(model, of));
  }
}

// A bracket that misses: what the scan has counted says on which side the threshold is, and a
// bracket that holds too many keys that it is inside.
void test_a_miss_starts_from_what_is_known() {
  Model model({300000}, 0, 1, 1, 0);
  const int64_t k = share(model, 0.5);
  std::vector<uint32_t> sorted = model.keys;
  std::sort(sorted.begin(), sorted.end());
  const uint32_t threshold = sorted[size_t(k - 1)];
  const Bracket brackets[] = {{threshold + 500, threshold + 900},
                              {threshold - 900, threshold - 500},
                              {threshold - 5, threshold - 5},
                              {sorted[1000], sorted[size_t(k + 90000)]}};
  const Bracket ranges[] = {{0, threshold + 499},
                            {threshold - 499, kMaxKey},
                            {threshold - 4, kMaxKey},
                            {brackets[3].lo + 1, brackets[3].hi - 1}};
  for (int i = 0; i < 4; ++i) {
    Selection<Float32> selection(&model, k);
    selection.bracket(&brackets[i]);
    selection.read();
    // The first two may have been ties at an end: these have to be counted first.
    CHECK((selection.state().mode == Mode::kExact) == (i >= 2));
    if (i < 2) selection.step(0);
    CHECK(selection.state().mode == Mode::kExact);
    const Bracket range = selection.state().range;
    CHECK(range.lo == ranges[i].lo && range.hi == ranges[i].hi);
    for (int number = 1; number < 4; ++number) selection.step(number);
    CHECK(selection.state().range.lo == threshold && selection.state().range.hi == threshold);
    const auto ties = std::equal_range(sorted.begin(), sorted.end(), threshold);
    CHECK(selection.state().quota == k - (ties.first - sorted.begin()));
    CHECK(int64_t(selection.state().ties) == ties.second - ties.first);
  }
}

}  // namespace

int main() {
  test_independent_weights_give_few_candidates();
  test_one_read_does_for_filters_of_different_scale<Float32>();
  test_one_read_does_for_filters_of_different_scale<BFloat16>();
  test_unevenly_dead_filters();
  test_small_and_many_tensors();
  test_few_values();
  test_a_miss_starts_from_what_is_known();
  std::puts("ok");
}
