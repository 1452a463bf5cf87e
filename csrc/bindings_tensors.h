// Tensors as Python holds them, read without PyTorch's headers: through the table of C functions
// that torch.Tensor publishes (`__dlpack_c_exchange_api__`, DLPack 1), whose layout that standard
// fixes. So one build still serves every torch version. Needs the GIL.
//
// What cannot be read here (another type, a sparse tensor, an older torch) is for Python to look
// at.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "keys.h"

namespace bound {

// DLPack's DLTensor. Strides are in elements; what it points to lives as long as the tensor.
struct TensorView {
  void* data;
  int32_t device_type, device_id, ndim;
  uint8_t dtype_code, dtype_bits;
  uint16_t dtype_lanes;
  int64_t *shape, *strides;
  uint64_t byte_offset;

  int64_t address() const { return reinterpret_cast<int64_t>(data) + int64_t(byte_offset); }
  int64_t numel() const {
    int64_t n = 1;
    for (int32_t d = 0; d < ndim; ++d) n *= shape[d];
    return n;
  }
};
static_assert(offsetof(TensorView, shape) == 24 && sizeof(TensorView) == 48);

// The head of DLPack's DLPackExchangeAPI.
struct ExchangeTable {
  uint32_t major, minor;
  void *previous, *allocate, *managed_from_object, *managed_to_object;
  int (*view_of_object)(void* object, TensorView* out);
};

class TensorReader {
 public:
  // The table of `tensor`, which serves its subclass `parameter` too; both live forever.
  void read_by(const pybind11::capsule& table, const pybind11::type& tensor,
               const pybind11::type& parameter) {
    const auto* given = table.get_pointer<ExchangeTable>();
    table_ = given->major == 1 && given->view_of_object ? given : nullptr;
    tensor_ = reinterpret_cast<PyTypeObject*>(tensor.ptr());
    parameter_ = reinterpret_cast<PyTypeObject*>(parameter.ptr());
  }

  // Has the cache fetch what `read` will look at, of an object that is there already. For that it
  // guesses where PyTorch keeps it; a wrong guess does no harm.
  void fetch(PyObject* object) const {
    const PyTypeObject* type = Py_TYPE(object);
    if (type != tensor_ && type != parameter_) return;
    const char* held = *reinterpret_cast<char* const*>(object + 1);
    for (int line = 0; line < 4; ++line) __builtin_prefetch(held + 64 * line);
  }

  // Whether `out` now tells of the tensor.
  bool read(pybind11::handle object, TensorView* out) const {
    const PyTypeObject* type = Py_TYPE(object.ptr());
    if (!table_ || (type != tensor_ && type != parameter_)) return false;
    if (table_->view_of_object(object.ptr(), out) == 0) return !out->ndim || out->strides;
    PyErr_Clear();
    return false;
  }

 private:
  const ExchangeTable* table_ = nullptr;
  const PyTypeObject *tensor_ = nullptr, *parameter_ = nullptr;
};

inline TensorReader& reader() {
  static TensorReader one;
  return one;
}

// Has the cache fetch what `read` will look at, of tensors of a list that come after the i-th. To
// wait for one tensor of thousands after another would take longer than to read them.
inline void fetch_ahead(PyObject* list, Py_ssize_t i) {
  constexpr Py_ssize_t kObjects = 16, kTensors = 8;
  const Py_ssize_t count = PyList_GET_SIZE(list);
  const Py_ssize_t objects = std::min(count, i + kObjects), tensors = std::min(count, i + kTensors);
  for (Py_ssize_t j = i == 0 ? 0 : i + kObjects - 1; j < objects; ++j) {
    __builtin_prefetch(PyList_GET_ITEM(list, j));
  }
  for (Py_ssize_t j = i == 0 ? 0 : i + kTensors - 1; j < tensors; ++j) {
    reader().fetch(PyList_GET_ITEM(list, j));
  }
}

inline bool same_kind(const TensorView& a, const TensorView& b) {
  return a.dtype_code == b.dtype_code && a.dtype_bits == b.dtype_bits &&
         a.dtype_lanes == b.dtype_lanes && a.device_type == b.device_type &&
         a.device_id == b.device_id;
}

inline bool same_order(const TensorView& a, const TensorView& b) {
  return a.ndim == b.ndim && std::equal(a.shape, a.shape + a.ndim, b.shape) &&
         std::equal(a.strides, a.strides + a.ndim, b.strides);
}

// Whether the elements fill their memory without gaps or overlaps, in any order.
inline bool is_dense(const TensorView& view) {
  int32_t left = 0;  // dimensions whose strides matter and have not been found
  for (int32_t d = 0; d < view.ndim; ++d) {
    if (view.shape[d] == 0) return true;
    left += view.shape[d] != 1;
  }
  for (int64_t expected = 1; left > 0; --left) {
    int32_t d = 0;
    while (d < view.ndim && (view.shape[d] == 1 || view.strides[d] != expected)) ++d;
    if (d == view.ndim) return false;
    expected *= view.shape[d];
  }
  return true;
}

// csrc/keys.h's DType of a tensor, if it has one.
inline std::optional<int32_t> dtype_of(const TensorView& view) {
  using impcore::DType;
  if (view.dtype_lanes != 1) return std::nullopt;
  if (view.dtype_code == 4 && view.dtype_bits == 16) return int32_t(DType::kBFloat16);
  if (view.dtype_code != 2) return std::nullopt;
  switch (view.dtype_bits) {
    case 16:
      return int32_t(DType::kFloat16);
    case 32:
      return int32_t(DType::kFloat32);
    case 64:
      return int32_t(DType::kFloat64);
    default:
      return std::nullopt;
  }
}

// Whether other is one float32 on tensor's device.
inline bool is_float_beside(const TensorView& tensor, const TensorView& other) {
  return dtype_of(other) == int32_t(impcore::DType::kFloat32) && other.numel() == 1 &&
         other.device_type == tensor.device_type && other.device_id == tensor.device_id;
}

// Whether tensor is dense, and other has its dtype, device, shape and strides.
inline bool side_by_side(const TensorView& tensor, const TensorView& other) {
  return same_kind(tensor, other) && same_order(tensor, other) && is_dense(tensor);
}

// Whether what is read of a tensor may be the negative of its values, of which DLPack says nothing:
// PyTorch negates the imaginary part of a conjugate only when it is used. Such a part has gaps
// unless it is one number.
inline bool may_be_negated(pybind11::handle tensor, const TensorView& view) {
  return view.numel() == 1 && tensor.attr("is_neg")().cast<bool>();
}

// Whether there is nothing to be read of a tensor, as of PyTorch's efficient zeros.
inline bool lacks_memory(const TensorView& view) { return !view.data && view.numel() > 0; }

// Whether masks are for its dtype: float32, bfloat16 or float16.
inline bool is_maskable(const TensorView& view) {
  const std::optional<int32_t> dtype = dtype_of(view);
  return dtype && *dtype != int32_t(impcore::DType::kFloat64);
}

// Tensors of a plan as its ops take them.
struct Operands {
  int32_t dtype;  // impcore::DType
  std::vector<int64_t> addresses;
};

// Of tensors that a plan for these sizes fits; none unless all can be read, are dense, of one
// maskable dtype and on one device.
inline std::optional<Operands> read_operands(const pybind11::tuple& numels,
                                             const pybind11::list& tensors) {
  const Py_ssize_t count = PyList_GET_SIZE(tensors.ptr());
  if (PyTuple_GET_SIZE(numels.ptr()) != count) return std::nullopt;
  Operands found{0, std::vector<int64_t>(size_t(count))};
  TensorView first, view;
  for (Py_ssize_t i = 0; i < count; ++i) {
    fetch_ahead(tensors.ptr(), i);
    if (!reader().read(PyList_GET_ITEM(tensors.ptr(), i), &view)) return std::nullopt;
    if (view.numel() != PyLong_AsLongLong(PyTuple_GET_ITEM(numels.ptr(), i))) return std::nullopt;
    if (i == 0) first = view;
    if (!is_dense(view) || !is_maskable(view) || !same_kind(first, view)) return std::nullopt;
    found.addresses[size_t(i)] = view.address();
  }
  if (count > 0) found.dtype = *dtype_of(first);
  return found;
}

// How many integers of so many bits this row of them has; -1 unless it certainly is one, without
// gaps and on the device of `beside`. Bytes: unsigned, from a multiple of 8 on.
inline int64_t row_of(pybind11::handle tensor, int bits, pybind11::handle beside) {
  TensorView view, place;
  const bool is_row = reader().read(tensor, &view) && reader().read(beside, &place) &&
                      view.ndim == 1 && (view.shape[0] <= 1 || view.strides[0] == 1) &&
                      view.dtype_code == (bits == 8) && view.dtype_bits == bits &&
                      view.dtype_lanes == 1 && (bits != 8 || view.address() % 8 == 0) &&
                      view.device_type == place.device_type && view.device_id == place.device_id;
  return is_row ? view.shape[0] : -1;
}

// Whether a Python tuple holds these numbers.
inline bool holds(PyObject* tuple, const int64_t* numbers, int32_t count) {
  if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) != count) return false;
  for (int32_t d = 0; d < count; ++d) {
    if (PyLong_AsLongLong(PyTuple_GET_ITEM(tuple, d)) != numbers[d]) return false;
  }
  return true;
}

// Whether all of these are on the device of `beside`, with these shapes and strides, tuples each.
inline bool are_laid_out(const pybind11::list& tensors, const pybind11::list& shapes,
                         const pybind11::list& strides, pybind11::handle beside) {
  TensorView place, view;
  const Py_ssize_t count = PyList_GET_SIZE(tensors.ptr());
  if (PyList_GET_SIZE(shapes.ptr()) != count || PyList_GET_SIZE(strides.ptr()) != count ||
      !reader().read(beside, &place)) {
    return false;
  }
  for (Py_ssize_t i = 0; i < count; ++i) {
    fetch_ahead(tensors.ptr(), i);
    if (!reader().read(PyList_GET_ITEM(tensors.ptr(), i), &view) ||
        !holds(PyList_GET_ITEM(shapes.ptr(), i), view.shape, view.ndim) ||
        !holds(PyList_GET_ITEM(strides.ptr(), i), view.strides, view.ndim) ||
        view.device_type != place.device_type || view.device_id != place.device_id) {
      return false;
    }
  }
  return true;
}

}  // namespace bound
