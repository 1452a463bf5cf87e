// What Python sees of the native kernels. Tensors come as addresses; impcore/ops checks them
// before. Only the two binding files know Python.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#if defined(IMPCORE_CUDA)
#include "bindings_cuda.h"
#endif
#include "bindings_gather.h"
#include "bindings_modules.h"
#include "cpu/ops.h"

namespace py = pybind11;
using impcore::Bracket;
using impcore::Chunk;
using impcore::DType;

namespace bound {

// A plan's chunk table and the tensors it is for: what every op over a plan begins with.
struct PlanArgs {
  const Operands& weights;
  int64_t chunks, num_chunks;

  operator impcore::cpu::Weights() const {
    return {static_cast<DType>(weights.dtype), pointer<const Chunk>(chunks), num_chunks,
            weights.addresses};
  }
};

void topk_mask(const Operands& weights, int64_t chunks, int64_t num_chunks, int64_t num_blocks,
               int64_t mask_in, int64_t mask_out, int64_t k, int64_t workspace, int64_t status,
               int64_t sums_before, int64_t sums_after,
               std::optional<std::pair<uint32_t, uint32_t>> bracket, int threads) {
  const Bracket forced = bracket ? Bracket{bracket->first, bracket->second} : Bracket{0, 0};
  impcore::cpu::topk_mask(PlanArgs{weights, chunks, num_chunks}, num_blocks,
                          pointer<uint32_t>(mask_in), pointer<uint32_t>(mask_out), k,
                          pointer<void>(workspace), pointer<int64_t>(status),
                          pointer<double>(sums_before), pointer<double>(sums_after),
                          bracket ? &forced : nullptr, threads);
}

void commit(const Operands& weights, int64_t chunks, int64_t num_chunks, const Operands& sources,
            int64_t mask, int64_t mask_out, int64_t status, int threads) {
  impcore::cpu::commit(PlanArgs{weights, chunks, num_chunks}, sources.addresses,
                       pointer<uint32_t>(mask), pointer<uint32_t>(mask_out),
                       pointer<int64_t>(status), threads);
}

void rewind(const Operands& weights, int64_t chunks, int64_t num_chunks, const Operands& sources,
            int64_t mask, int threads) {
  impcore::cpu::rewind(PlanArgs{weights, chunks, num_chunks}, sources.addresses,
                       pointer<uint32_t>(mask), threads);
}

void block_l1(const Operands& weights, int64_t chunks, int64_t num_chunks, int64_t num_blocks,
              int64_t mask, int64_t sums, int threads) {
  impcore::cpu::block_l1(PlanArgs{weights, chunks, num_chunks}, num_blocks, pointer<uint32_t>(mask),
                         pointer<double>(sums), threads);
}

double value(const Number& number) {
  return number.is_double ? *pointer<const double>(number.address)
                          : *pointer<const float>(number.address);
}

void masked_sgd(const StepArgs& args, Number lr, double momentum, double dampening,
                Number weight_decay, bool nesterov, bool maximize, bool first,
                const std::optional<Number>& grad_scale, int threads) {
  impcore::cpu::masked_sgd(tensors_of(args),
                           {value(lr), momentum, dampening, value(weight_decay), nesterov, maximize,
                            first, pointer_if<const float>(grad_scale)},
                           threads);
}

void masked_adamw(const StepArgs& args, Number lr, Number beta1, Number beta2, Number weight_decay,
                  double eps, bool maximize, const std::optional<Number>& grad_scale, int threads) {
  const impcore::StepTensors tensors = tensors_of(args);
  const bool amsgrad = tensors.states.size() == 3;
  impcore::cpu::masked_adamw(tensors, args.counts,
                             {value(lr), value(beta1), value(beta2), value(weight_decay), eps,
                              amsgrad, maximize, pointer_if<const float>(grad_scale)},
                             threads);
}

}  // namespace bound

PYBIND11_MODULE(_C, m) {
  using bound::Addresses;
  using bound::Operands;
  using bound::pointer;
  using bound::StepArgs;
  using release = py::call_guard<py::gil_scoped_release>;
  m.doc() = "The native kernels of impcore. Private: impcore.ops is the interface.";
  m.attr("CHUNK_LENGTH") = impcore::kChunkLength;

  py::class_<Operands>(m, "Operands")
      .def(py::init(
          [](int32_t dtype, const Addresses& addresses) { return Operands{dtype, addresses}; }))
      .def_static("read", bound::read_operands);
  py::class_<StepArgs>(m, "StepArgs")
      .def(py::init([](int32_t dtype, const Addresses& weights, const Addresses& grads,
                       const std::vector<Addresses>& states, const Addresses& counts,
                       const Addresses& numels, const Addresses& words, int64_t mask) {
        return StepArgs{dtype, weights, grads, states, counts, numels, words, mask};
      }))
      .def_readonly("words", &StepArgs::words);
  py::class_<bound::Places>(m, "Places")
      .def(py::init<const py::list&, const Addresses&, const py::object&>());
  m.def("read_tensors_by",
        [](const py::capsule& table, const py::type& tensor, const py::type& parameter) {
          bound::reader().read_by(table, tensor, parameter);
        });
  m.def("gather", bound::gather);
  m.def("are_laid_out", bound::are_laid_out);
  m.def("row_of", bound::row_of);
  py::class_<bound::ModuleTree>(m, "ModuleTree")
      .def_static("read", bound::ModuleTree::read)
      .def("is_that_of", &bound::ModuleTree::is_that_of);
  py::class_<bound::ParameterPaths>(m, "ParameterPaths")
      .def(py::init<std::vector<bound::ParameterPaths::Step>,
                    std::vector<bound::ParameterPaths::Step>>())
      .def("lead_to", &bound::ParameterPaths::lead_to);
  // os.environ sets it too, and looks it up in some microseconds of Python.
  m.def("getenv", [](const char* name) { return std::getenv(name); });
  m.def("int64_at", [](int64_t address) { return *pointer<const int64_t>(address); });
  m.def("isa", [] { return impcore::cpu::isa_name(); });
  m.def("count_chunks", [](const Addresses& numels) {
    return impcore::count_chunks(numels.data(), int64_t(numels.size()));
  });
  m.def("fill_chunks", [](const Addresses& numels, const Addresses& blocks, int64_t out) {
    impcore::fill_chunks(numels.data(), blocks.data(), int64_t(numels.size()), pointer<Chunk>(out));
  });
  m.def("topk_mask_workspace", [](int64_t chunks, int64_t num_chunks) {
    return impcore::cpu::topk_mask_workspace(pointer<const Chunk>(chunks), num_chunks);
  });

  m.def("topk_mask", bound::topk_mask, release());
  m.def("commit", bound::commit, release());
  m.def("rewind", bound::rewind, release());
  m.def("block_l1", bound::block_l1, release());
  m.def("masked_sgd", bound::masked_sgd, release());
  m.def("masked_adamw", bound::masked_adamw, release());
  m.def(
      "pack",
      [](int64_t bools, int64_t numel, int64_t words, int threads) {
        impcore::cpu::pack(pointer<uint8_t>(bools), numel, pointer<uint32_t>(words), threads);
      },
      release());
  m.def(
      "unpack",
      [](int64_t words, int64_t numel, int64_t bools, int threads) {
        impcore::cpu::unpack(pointer<uint32_t>(words), numel, pointer<uint8_t>(bools), threads);
      },
      release());
  m.def(
      "count",
      [](int64_t words, int64_t num_words, int threads) {
        return impcore::cpu::count(pointer<uint32_t>(words), num_words, threads);
      },
      release());
  m.def(
      "counts",
      [](int64_t chunks, int64_t num_chunks, int64_t words, int64_t each, int64_t tensors,
         int threads) {
        impcore::cpu::counts(pointer<const Chunk>(chunks), num_chunks, pointer<uint32_t>(words),
                             pointer<int64_t>(each), tensors, threads);
      },
      release());
  m.def(
      "permute",
      [](int64_t from, int64_t to, const Addresses& shape, const Addresses& from_strides,
         const Addresses& to_strides, int threads) {
        impcore::cpu::permute(pointer<uint32_t>(from), pointer<uint32_t>(to), shape, from_strides,
                              to_strides, threads);
      },
      release());

#if defined(IMPCORE_CUDA)
  py::module_ cuda = m.def_submodule("cuda");
  bind_cuda(cuda);
#endif
}
