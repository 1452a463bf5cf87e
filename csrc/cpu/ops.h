// The CPU ops as the binding sees them. Pointers are addresses of the caller's tensors; every
// array's size follows from the plan. No op allocates more than a few numbers a chunk.
#pragma once

#include <cstdint>
#include <vector>

#include "../step_tensors.h"
#include "common.h"

namespace impcore::cpu {

// Bytes of scratch that topk_mask needs for a plan.
int64_t topk_mask_workspace(const Chunk* chunks, int64_t num_chunks);

// Phase 1, select: the k alive weights that are smallest in the total order get mask bit 0.
// status: 0 clean; > 0 the number of non-finite alive weights; -1: k is negative or above the alive
// count. Unless it is 0, mask_out and the sums are scratch. sums_*: [2, blocks], sum of |theta|
// then count. `forced`, for tests, replaces the sampled bracket.
void topk_mask(const Weights& weights, int64_t num_blocks, const uint32_t* mask_in,
               uint32_t* mask_out, int64_t k, void* workspace, int64_t* status, double* sums_before,
               double* sums_after, const Bracket* forced, int threads);

// Phase 2, commit: if status is clean, mask <- mask_out and weights <- mask ? source : +0.
void commit(const Weights& weights, const std::vector<int64_t>& sources, uint32_t* mask,
            const uint32_t* mask_out, const int64_t* status, int threads);

void rewind(const Weights& weights, const std::vector<int64_t>& sources, const uint32_t* mask,
            int threads);

// sums: [2, blocks].
void block_l1(const Weights& weights, int64_t num_blocks, const uint32_t* mask, double* sums,
              int threads);

void pack(const uint8_t* bools, int64_t numel, uint32_t* words, int threads);
void unpack(const uint32_t* words, int64_t numel, uint8_t* bools, int threads);
int64_t count(const uint32_t* words, int64_t num_words, int threads);
// each: of every tensor of a plan.
void counts(const Chunk* chunks, int64_t num_chunks, const uint32_t* words, int64_t* each,
            int64_t tensors, int threads);
// Reorders the bits of a tensor of this shape from one dense storage order to another.
void permute(const uint32_t* from, uint32_t* to, const std::vector<int64_t>& shape,
             const std::vector<int64_t>& from_strides, const std::vector<int64_t>& to_strides,
             int threads);

// One step over many tensors.
void masked_sgd(const StepTensors& tensors, const SgdScalars& scalars, int threads);

// steps: for each tensor a float, how many steps it has taken; they are counted up.
struct AdamWOptions {
  double lr, beta1, beta2, weight_decay, eps;
  bool amsgrad, maximize;
  const float* grad_scale;
};
void masked_adamw(const StepTensors& tensors, const std::vector<int64_t>& steps,
                  const AdamWOptions& options, int threads);

}  // namespace impcore::cpu
