// The CUDA ops as the binding sees them. Plain C++: no CUDA header is needed to call them.
//
// Every pointer is an address on the device but where it says "host". No op reads from the device,
// copies or allocates: each is a fixed sequence of launches on the given stream, which a CUDA graph
// can capture. What goes wrong with a launch is thrown as an Error.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <vector>

#include "../keys.h"
#include "../plan.h"
#include "../step_tensors.h"

namespace impcore::cuda {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using Stream = void*;  // a cudaStream_t

// A plan with the tensors it is applied to.
struct Weights {
  DType dtype;
  const Chunk* chunks;
  int64_t num_chunks;
  const int64_t* pointers;  // one a tensor
};

// A plan's chunks by the block that their sums add to: block b has chunks
// order[first[b]] ... order[first[b + 1] - 1].
struct BlockOrder {
  const int64_t* order;
  const int64_t* first;
  int64_t num_blocks;
};

// Writes integers of the host (addresses) to the device, as arguments of launches.
void upload(const std::vector<int64_t>& values, int64_t* out, Stream stream);

// Bytes of scratch that topk_mask needs for a plan of so many chunks and weights.
int64_t topk_mask_workspace(int64_t num_chunks, int64_t total);

// As impcore::cpu::topk_mask (csrc/cpu/ops.h); k and status are on the device, `forced` on the
// host.
void topk_mask(const Weights& weights, int64_t total, const BlockOrder& blocks,
               const uint32_t* mask_in, uint32_t* mask_out, const int64_t* k, void* workspace,
               int64_t* status, double* sums_before, double* sums_after, const Bracket* forced,
               Stream stream);

// If the status is clean, mask <- mask_out and weights <- mask ? source : +0; sources: one address
// a tensor, or null for the weights themselves.
void commit(const Weights& weights, const int64_t* sources, uint32_t* mask,
            const uint32_t* mask_out, const int64_t* status, Stream stream);

void rewind(const Weights& weights, const int64_t* sources, const uint32_t* mask, Stream stream);

// Bytes of scratch that block_l1 needs for a plan of so many chunks.
int64_t block_l1_workspace(int64_t num_chunks);

// sums: [2, blocks].
void block_l1(const Weights& weights, const BlockOrder& blocks, const uint32_t* mask,
              void* workspace, double* sums, Stream stream);

void pack(const uint8_t* bools, int64_t numel, uint32_t* words, Stream stream);
void unpack(const uint32_t* words, int64_t numel, uint8_t* bools, Stream stream);
void count(const uint32_t* words, int64_t num_words, int64_t* ones, Stream stream);
// each: of every tensor of a plan.
void counts(const Chunk* chunks, int64_t num_chunks, const uint32_t* words, int64_t* each,
            int64_t tensors, Stream stream);
// shape and strides are on the host.
void permute(const uint32_t* from, uint32_t* to, const std::vector<int64_t>& shape,
             const std::vector<int64_t>& from_strides, const std::vector<int64_t>& to_strides,
             Stream stream);

// A scalar option: a double or a float.
struct Number {
  const void* at;
  bool is_double;
};

// In both steps the tensors' lists are on the host; nothing is touched where found_inf (if there is
// one) is not 0.
struct SgdOptions {
  Number lr, weight_decay;
  double momentum, dampening;
  bool nesterov, maximize;
  uint8_t* first;  // null: it is 0
  const float* grad_scale;
  const float* found_inf;
};
void masked_sgd(const StepTensors& tensors, const SgdOptions& options, Stream stream);

// steps: for each tensor a float's address, how many steps it has taken. constants: scratch of two
// doubles a tensor.
struct AdamWOptions {
  Number lr, beta1, beta2, weight_decay;
  double eps;
  bool maximize;
  const float* grad_scale;
  const float* found_inf;
};
void masked_adamw(const StepTensors& tensors, const std::vector<int64_t>& steps,
                  const AdamWOptions& options, double* constants, Stream stream);

}  // namespace impcore::cuda
