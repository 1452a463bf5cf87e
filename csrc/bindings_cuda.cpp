// The CUDA half of the binding: the submodule _C.cuda. Tensors come as addresses on the device;
// impcore/ops checks them before.
#include "bindings_cuda.h"

#include <pybind11/stl.h>

#include <optional>
#include <utility>
#include <vector>

#include "bindings_steps.h"
#include "cuda/ops.h"

namespace py = pybind11;
namespace cuda = impcore::cuda;
using impcore::Bracket;
using impcore::Chunk;
using impcore::DType;

namespace bound_cuda {

using bound::Number;
using bound::pointer;
using bound::pointer_if;

cuda::Weights weights_of(int32_t dtype, int64_t chunks, int64_t num_chunks, int64_t pointers) {
  return {static_cast<DType>(dtype), pointer<const Chunk>(chunks), num_chunks,
          pointer<const int64_t>(pointers)};
}

cuda::BlockOrder order_of(int64_t order, int64_t first, int64_t num_blocks) {
  return {pointer<const int64_t>(order), pointer<const int64_t>(first), num_blocks};
}

void topk_mask(const cuda::Weights& weights, int64_t total, const cuda::BlockOrder& blocks,
               int64_t mask_in, int64_t mask_out, int64_t k, int64_t workspace, int64_t status,
               int64_t sums_before, int64_t sums_after,
               std::optional<std::pair<uint32_t, uint32_t>> bracket, int64_t stream) {
  const Bracket forced = bracket ? Bracket{bracket->first, bracket->second} : Bracket{0, 0};
  cuda::topk_mask(weights, total, blocks, pointer<uint32_t>(mask_in), pointer<uint32_t>(mask_out),
                  pointer<int64_t>(k), pointer<void>(workspace), pointer<int64_t>(status),
                  pointer<double>(sums_before), pointer<double>(sums_after),
                  bracket ? &forced : nullptr, pointer<void>(stream));
}

void commit(const cuda::Weights& weights, int64_t sources, int64_t mask, int64_t mask_out,
            int64_t status, int64_t stream) {
  cuda::commit(weights, pointer<int64_t>(sources), pointer<uint32_t>(mask),
               pointer<uint32_t>(mask_out), pointer<int64_t>(status), pointer<void>(stream));
}

void rewind(const cuda::Weights& weights, int64_t sources, int64_t mask, int64_t stream) {
  cuda::rewind(weights, pointer<int64_t>(sources), pointer<uint32_t>(mask), pointer<void>(stream));
}

void block_l1(const cuda::Weights& weights, const cuda::BlockOrder& blocks, int64_t mask,
              int64_t workspace, int64_t sums, int64_t stream) {
  cuda::block_l1(weights, blocks, pointer<uint32_t>(mask), pointer<void>(workspace),
                 pointer<double>(sums), pointer<void>(stream));
}

void pack(int64_t bools, int64_t numel, int64_t words, int64_t stream) {
  cuda::pack(pointer<uint8_t>(bools), numel, pointer<uint32_t>(words), pointer<void>(stream));
}

void unpack(int64_t words, int64_t numel, int64_t bools, int64_t stream) {
  cuda::unpack(pointer<uint32_t>(words), numel, pointer<uint8_t>(bools), pointer<void>(stream));
}

void count(int64_t words, int64_t num_words, int64_t ones, int64_t stream) {
  cuda::count(pointer<uint32_t>(words), num_words, pointer<int64_t>(ones), pointer<void>(stream));
}

void counts(int64_t chunks, int64_t num_chunks, int64_t words, int64_t each, int64_t tensors,
            int64_t stream) {
  cuda::counts(pointer<Chunk>(chunks), num_chunks, pointer<uint32_t>(words), pointer<int64_t>(each),
               tensors, pointer<void>(stream));
}

void permute(int64_t from, int64_t to, const bound::Addresses& shape,
             const bound::Addresses& from_strides, const bound::Addresses& to_strides,
             int64_t stream) {
  cuda::permute(pointer<uint32_t>(from), pointer<uint32_t>(to), shape, from_strides, to_strides,
                pointer<void>(stream));
}

cuda::Number number(const Number& n) { return {pointer<void>(n.address), n.is_double}; }

void masked_sgd(const bound::StepArgs& args, Number lr, double momentum, double dampening,
                Number weight_decay, bool nesterov, bool maximize,
                const std::optional<Number>& first, const std::optional<Number>& grad_scale,
                const std::optional<Number>& found_inf, int64_t stream) {
  cuda::masked_sgd(
      bound::tensors_of(args),
      {number(lr), number(weight_decay), momentum, dampening, nesterov, maximize,
       pointer_if<uint8_t>(first), pointer_if<float>(grad_scale), pointer_if<float>(found_inf)},
      pointer<void>(stream));
}

void masked_adamw(const bound::StepArgs& args, Number lr, Number beta1, Number beta2,
                  Number weight_decay, double eps, bool maximize,
                  const std::optional<Number>& grad_scale, const std::optional<Number>& found_inf,
                  int64_t constants, int64_t stream) {
  cuda::masked_adamw(bound::tensors_of(args), args.counts,
                     {number(lr), number(beta1), number(beta2), number(weight_decay), eps, maximize,
                      pointer_if<float>(grad_scale), pointer_if<float>(found_inf)},
                     pointer<double>(constants), pointer<void>(stream));
}

void raise_as_backend_error(std::exception_ptr error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (const cuda::Error& e) {
    py::set_error(py::module_::import("impcore.errors").attr("BackendError"), e.what());
  }
}

}  // namespace bound_cuda

void bind_cuda(py::module_& m) {
  using release = py::call_guard<py::gil_scoped_release>;
  m.doc() = "The CUDA kernels. A stream is a cudaStream_t's address.";
  py::register_local_exception_translator(bound_cuda::raise_as_backend_error);
  py::class_<cuda::Weights>(m, "Weights", py::module_local())
      .def(py::init(&bound_cuda::weights_of));
  py::class_<cuda::BlockOrder>(m, "BlockOrder", py::module_local())
      .def(py::init(&bound_cuda::order_of));
  m.def(
      "upload",
      [](const std::vector<int64_t>& values, int64_t out, int64_t stream) {
        cuda::upload(values, bound::pointer<int64_t>(out), bound::pointer<void>(stream));
      },
      release());
  m.def("topk_mask_workspace", &cuda::topk_mask_workspace);
  m.def("topk_mask", bound_cuda::topk_mask, release());
  m.def("commit", bound_cuda::commit, release());
  m.def("rewind", bound_cuda::rewind, release());
  m.def("block_l1_workspace", cuda::block_l1_workspace);
  m.def("block_l1", bound_cuda::block_l1, release());
  m.def("pack", bound_cuda::pack, release());
  m.def("unpack", bound_cuda::unpack, release());
  m.def("count", bound_cuda::count, release());
  m.def("counts", bound_cuda::counts, release());
  m.def("permute", bound_cuda::permute, release());
  m.def("masked_sgd", bound_cuda::masked_sgd, release());
  m.def("masked_adamw", bound_cuda::masked_adamw, release());
}
