// What the border to Python is made of: shapes are checked, the lock of the interpreter is released, and the path
// that this processor can run is chosen.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "paths.hpp"
#include "search.hpp"

namespace nb = nanobind;

namespace qsearch {

template <typename T, std::size_t kDimensions>
using In = nb::ndarray<const T, nb::ndim<kDimensions>, nb::c_contig, nb::device::cpu>;
template <typename T, std::size_t kDimensions>
using Out = nb::ndarray<T, nb::ndim<kDimensions>, nb::c_contig, nb::device::cpu>;

inline void require(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

// The best first.
inline const std::vector<const Path*>& paths() {
  static const std::vector<const Path*> found = [] {
    std::vector<const Path*> there;
    for (const Path* path : {avx512_path(), avx2_path(), neon_dot_path(), neon_path(), portable_path()})
      if (path) there.push_back(path);
    return there;
  }();
  return found;
}

inline const Path& named(const std::string& name) {
  for (const Path* path : paths())
    if (name == path->name) return *path;
  throw std::invalid_argument("this processor has no path " + name);
}

inline std::vector<std::string> path_names() {
  std::vector<std::string> names;
  for (const Path* path : paths()) names.emplace_back(path->name);
  return names;
}

using Bits = std::optional<In<std::uint8_t, 1>>;

// `bits` has a bit for each of n rows, in bytes for whole blocks of rotated codes; none behind the last.
inline Mask mask_of(const Bits& bits, std::size_t n) {
  if (!bits) return {nullptr, n};
  const std::size_t size = (n + kBlockRows - 1) / kBlockRows * (kBlockRows / 8);
  require(bits->shape(0) == size, "a mask has another shape");
  Mask mask = {bits->data(), 0};
  mask.allowed = mask.count(0, size);
  for (std::size_t row = n; row < size * 8; ++row)
    require(!(mask.bits[row / 8] >> row % 8 & 1), "a mask allows rows behind the last");
  return mask;
}

inline void check_indices(const In<std::int64_t, 2>& indices, std::size_t n) {
  const std::int64_t* values = indices.data();
  for (std::size_t i = 0; i < indices.size(); ++i)
    require(values[i] >= -1 && values[i] < static_cast<std::int64_t>(n), "an index is out of range");
}

// Runs a kernel without the lock of the interpreter, and lets signals through: where a handler raises
// (Ctrl-C), the kernel stops and the exception goes on. Handlers run in the main thread only.
template <typename Work>
void run(Work&& work) {
  bool stopped;
  {
    nb::gil_scoped_release release;
    Watch watch([] {
      nb::gil_scoped_acquire acquire;
      return PyErr_CheckSignals() != 0;
    });
    work(&watch);
    stopped = watch.stopped();
  }
  if (stopped) throw nb::python_error();
}

// noconvert: a silent copy of an array to write into would lose the result.
#define ARRAY(name) nb::arg(name).noconvert()

// Searches by graph.
void add_graph(nb::module_& m);

}  // namespace qsearch
