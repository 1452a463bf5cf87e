// The loops over one chunk, compiled once per instruction set and chosen once at run time.
//
// Invariant: every variant returns the same bits. Sums are kept in 16 double lanes (element e of
// the chunk adds to lane e mod 16, in order) and folded by one fixed tree, so neither the vector
// width nor the number of threads shows in a result.
#pragma once

#include <cmath>
#include <cstdint>

#include "../../keys.h"
#include "../../plan.h"
#include "../../step_scalars.h"

// GCC compiles part of a file for another instruction set; elsewhere the portable loops serve.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define IMPCORE_X86_SIMD 1
#endif

namespace impcore::cpu {

// Where candidates (keys strictly inside the bracket) go: fixed-size pages from a common pool,
// linked per run of consecutive chunks. Overflow depends on the counts alone, never on the order of
// threads.
struct CandidatePool {
  static constexpr int32_t kPage = 128;
  uint32_t* keys;     // [pages * kPage]
  uint16_t* offsets;  // [pages * kPage] within the chunk
  int32_t* next;      // [pages] following page of the same run, or -1
  int32_t pages;
  int32_t* used;  // pages handed out; may pass `pages`, which is the overflow flag
};

// Where the candidates of a run's next chunk begin: behind those of the chunk before.
struct PageEnd {
  int32_t page = -1;
  int32_t filled = CandidatePool::kPage;
};

// What one scan of a chunk found.
struct ChunkScan {
  int64_t alive;
  int64_t up_to_lo;  // alive keys at or under the bracket's lower end
  int64_t inside;    // alive keys strictly inside it: the candidates
  int64_t ties;      // alive keys at its upper end, if it has no inside
  int64_t non_finite;
  double sum_before;   // sum of |theta| over the alive
  double sum_after;    // over those at or above the upper end (and above the lower one)
  int64_t first_slot;  // of the candidates in the pool, in order, if there are any
};

// What an optimiser's step reads and writes of one tensor or chunk: weights, gradients and, of the
// states, those that the optimiser keeps (the others are null and not looked at).
struct StepRows {
  static constexpr int kMaxStates = 3;
  void* weights;
  const void* grads;
  void* states[kMaxStates];
};

struct ChunkKernels {
  // How many bits are set in some words.
  int64_t (*count)(const uint32_t* words, int64_t num_words);
  // Writes the order keys of a place of the sample, two words; of dead weights kMaxKey.
  void (*place_keys)(const void* weights, const uint32_t* mask, uint32_t* keys);
  // Sum over neighbours, of the places that `number` keys are, of the square by which their numbers
  // of keys above a bound differ. A last place of at least half the length counts as a whole one.
  int64_t (*spread)(const uint32_t* keys, int64_t number, uint32_t bound);
  // Adds those of `count` keys that lie in a range to bins, 2^shift keys each.
  void (*count_keys)(const uint32_t* keys, int64_t count, Bracket range, int shift, int64_t* bins);
  // Reads a chunk once. mask_out gets the keys at or above the bracket's upper end (but above its
  // lower one), the pool those strictly inside, from `end` on, which is moved; `bins` counts these
  // by the first kBinBits of their distance to the lower end.
  void (*scan)(const void* weights, const uint32_t* mask_in, uint32_t* mask_out, int64_t length,
               Bracket bracket, CandidatePool* pool, PageEnd* end, int64_t* bins,
               ChunkScan* result);
  // The same where no key can lie strictly inside the bracket; counts those at its upper end.
  void (*scan_ties)(const void* weights, const uint32_t* mask_in, uint32_t* mask_out,
                    int64_t length, Bracket bracket, ChunkScan* result);
  // Of a chunk's candidates, at most a page of them, sets the bits of those above the threshold,
  // and of those at it but for the first *pruned_ties, which is counted down. Adds their magnitudes
  // to *sum and returns their number.
  int64_t (*keep)(const uint32_t* keys, const uint16_t* offsets, int64_t count, uint32_t threshold,
                  int64_t* pruned_ties, uint32_t* mask, double* sum);
  // How many alive keys equal `key`.
  int64_t (*ties)(const void* weights, const uint32_t* mask, int64_t length, uint32_t key);
  // Of the alive keys that equal `key`, clears the first `pruned` bits in mask_out, sets the
  // others; then as block_l1 under mask_out, in the same read.
  void (*split_ties)(const void* weights, const uint32_t* mask_in, uint32_t* mask_out,
                     int64_t length, uint32_t key, int64_t pruned, double* sum, int64_t* count);
  // Sum of |theta| and count over the alive.
  void (*block_l1)(const void* weights, const uint32_t* mask, int64_t length, double* sum,
                   int64_t* count);
  // weights <- mask ? source : +0; source may be weights itself.
  void (*select)(void* weights, const void* source, const uint32_t* mask, int64_t length);
  // One step; where the mask (null: all ones) is 0, weight and states become +0. SGD's state is the
  // momentum, if it has one; AdamW's are exp_avg, exp_avg_sq and, with amsgrad, max_exp_avg_sq.
  void (*sgd)(const StepRows& rows, const uint32_t* mask, int64_t length,
              const SgdScalars& scalars);
  void (*adamw)(const StepRows& rows, const uint32_t* mask, int64_t length,
                const AdamWScalars& scalars);
};

// The kernels of the instruction set in use (IMPCORE_ISA, or the best one this CPU has).
// float64 has `sgd` and `adamw` alone: masks are for float32, bfloat16 and float16.
const ChunkKernels& chunk_kernels(DType dtype);
const char* isa_name();

}  // namespace impcore::cpu
