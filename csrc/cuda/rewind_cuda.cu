// weights <- mask ? source : +0, alone or as the second phase of a selection.
//
// A selection, never a multiplication: a dead weight becomes +0 whatever it held, and a survivor
// gets the source's bits unchanged. Packs that are alive as a whole are not touched without a
// source, dead ones are not read.
#include "common.cuh"

namespace impcore::cuda {

namespace {

struct Rewind {
  const Chunk* chunks;
  const int64_t* pointers;
  const int64_t* sources;  // null: the weights themselves
  const uint32_t* mask;
  uint32_t* mask_to;      // null, or where the mask is copied to
  const int64_t* status;  // null, or nothing happens unless it is 0
};

template <class Bits>
__global__ void __launch_bounds__(kThreads) rewind_tile(Rewind job) {
  using S = Span<Bits>;
  if (job.status != nullptr && *job.status != 0) return;
  const Tile tile = tile_of(job.chunks, blockIdx.x);
  const int span = int(threadIdx.x) / kLanes * kWarpSpan;
  if (span >= tile.length) return;
  const uint32_t words = span_word(job.mask, tile, span);
  const int word = span / int(kWordBits) + int(threadIdx.x) % kLanes;
  if (job.mask_to != nullptr && word < words_of(tile.length)) job.mask_to[tile.word + word] = words;

  Bits* weights = at<Bits>(job.pointers, tile);
  const bool in_place = job.sources == nullptr;
  const Bits* sources = in_place ? weights : at<const Bits>(job.sources, tile);
  const bool aligned = is_aligned(weights);
  for_packs(sources, words, tile, span, [&](int, int first, unsigned bits, Pack<Bits> pack) {
    const int left = tile.length - first;
    if (left <= 0 || (in_place && bits == S::kPackBits)) return;
#pragma unroll
    for (int j = 0; j < S::kPack; ++j) {
      if (!(bits >> j & 1)) pack.values[j] = 0;
    }
    store(weights + first, pack, left, aligned && left >= S::kPack);
  });
}

void run(const Weights& weights, const Rewind& job, Stream stream) {
  with_dtype(weights.dtype, [&](auto dtype) {
    launch(rewind_tile<typename decltype(dtype)::Bits>, weights.num_chunks * kTilesPerChunk,
           kThreads, stream, job);
  });
}

}  // namespace

void rewind(const Weights& weights, const int64_t* sources, const uint32_t* mask, Stream stream) {
  run(weights, {weights.chunks, weights.pointers, sources, mask, nullptr, nullptr}, stream);
}

void commit(const Weights& weights, const int64_t* sources, uint32_t* mask,
            const uint32_t* mask_out, const int64_t* status, Stream stream) {
  run(weights, {weights.chunks, weights.pointers, sources, mask_out, mask, status}, stream);
}

}  // namespace impcore::cuda
