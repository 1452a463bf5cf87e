// Packed masks: one bit a weight, least significant bit first, padding bits 0.
#include <algorithm>
#include <numeric>

#include "ops.h"

namespace impcore::cpu {

namespace {

// Work is cut at word boundaries, so that no two threads write to one word.
constexpr int64_t kWordsPerPiece = kChunkLength / kWordBits;

template <class Body>
void for_pieces(int64_t words, int threads, const Body& body) {
  parallel_for(ceil_div(words, kWordsPerPiece), threads, [&](int64_t piece) {
    const int64_t begin = piece * kWordsPerPiece;
    body(begin, std::min(words, begin + kWordsPerPiece));
  });
}

}  // namespace

void pack(const uint8_t* bools, int64_t numel, uint32_t* words, int threads) {
  for_pieces(words_of(numel), threads, [&](int64_t begin, int64_t end) {
    for (int64_t w = begin; w < end; ++w) {
      const int64_t lanes = std::min(kWordBits, numel - w * kWordBits);
      uint32_t bits = 0;
      for (int64_t i = 0; i < lanes; ++i) bits |= uint32_t(bools[w * kWordBits + i] != 0) << i;
      words[w] = bits;
    }
  });
}

void unpack(const uint32_t* words, int64_t numel, uint8_t* bools, int threads) {
  for_pieces(words_of(numel), threads, [&](int64_t begin, int64_t end) {
    for (int64_t w = begin; w < end; ++w) {
      const int64_t lanes = std::min(kWordBits, numel - w * kWordBits);
      for (int64_t i = 0; i < lanes; ++i) bools[w * kWordBits + i] = words[w] >> i & 1;
    }
  });
}

int64_t count(const uint32_t* words, int64_t num_words, int threads) {
  const ChunkKernels& kernels = chunk_kernels(DType::kFloat32);
  std::vector<int64_t> partial(size_t(ceil_div(num_words, kWordsPerPiece)), 0);
  for_pieces(num_words, threads, [&](int64_t begin, int64_t end) {
    partial[size_t(begin / kWordsPerPiece)] = kernels.count(words + begin, end - begin);
  });
  return std::accumulate(partial.begin(), partial.end(), int64_t(0));
}

void counts(const Chunk* chunks, int64_t num_chunks, const uint32_t* words, int64_t* each,
            int64_t tensors, int threads) {
  const ChunkKernels& kernels = chunk_kernels(DType::kFloat32);
  std::vector<int64_t> partial(size_t(num_chunks), 0);
  parallel_for(num_chunks, threads, [&](int64_t c) {
    partial[size_t(c)] = kernels.count(words + chunks[c].word, words_of(chunks[c].length));
  });
  std::fill(each, each + tensors, 0);
  for (int64_t c = 0; c < num_chunks; ++c) each[chunks[c].tensor] += partial[size_t(c)];
}

void permute(const uint32_t* from, uint32_t* to, const std::vector<int64_t>& shape,
             const std::vector<int64_t>& from_strides, const std::vector<int64_t>& to_strides,
             int threads) {
  // The dimensions of size > 1 from the outermost to the innermost of the new storage order.
  std::vector<size_t> order;
  int64_t numel = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    numel *= shape[d];
    if (shape[d] > 1) order.push_back(d);
  }
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return to_strides[a] > to_strides[b]; });
  for_pieces(words_of(numel), threads, [&](int64_t begin, int64_t end) {
    // An odometer over the new order, set to the piece's first element.
    std::vector<int64_t> at(order.size(), 0);
    int64_t source = 0;
    for (size_t j = 0; j < order.size(); ++j) {
      const size_t d = order[j];
      at[j] = begin * kWordBits / to_strides[d] % shape[d];
      source += at[j] * from_strides[d];
    }
    for (int64_t w = begin; w < end; ++w) {
      const int64_t lanes = std::min(kWordBits, numel - w * kWordBits);
      uint32_t bits = 0;
      for (int64_t i = 0; i < lanes; ++i) {
        bits |= (from[source / kWordBits] >> (source % kWordBits) & 1) << i;
        for (size_t j = order.size(); j-- > 0;) {
          source += from_strides[order[j]];
          if (++at[j] < shape[order[j]]) break;
          source -= shape[order[j]] * from_strides[order[j]];
          at[j] = 0;
        }
      }
      to[w] = bits;
    }
  });
}

}  // namespace impcore::cpu
