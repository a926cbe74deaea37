// Estimates by sketches, where they are the same in every path but for how bits are counted.
#pragma once

#include <cstddef>
#include <cstdint>

#include "paths.hpp"

namespace {

// The factor of a sketch: its last four bytes, on a little-endian processor.
inline float factor_of(const std::uint64_t* row, std::size_t lines) {
  float factor;
  __builtin_memcpy(&factor, reinterpret_cast<const char*>(row + lines * qsearch::kSketchWords) - sizeof factor,
                   sizeof factor);
  return factor;
}

// See Path::sift.
template <typename Count>
[[maybe_unused]] inline std::size_t sift_rows(const std::uint64_t* sketches, const std::uint32_t* rows,
                                              std::size_t count, const qsearch::SketchQuery& query,
                                              std::uint32_t* passed, float* estimates, Count bits_set) {
  using namespace qsearch;
  std::size_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t* row = sketches + std::size_t{rows[i]} * query.lines * kSketchWords;
    std::int32_t sum = 0;
    for (std::size_t line = 0; line < query.lines; ++line) {
      const std::uint64_t* planes = query.planes + line * kSketchPlanes * kSketchWords;
      for (std::size_t plane = 0; plane < kSketchPlanes; ++plane) {
        std::int32_t bits = 0;
        for (std::size_t w = 0; w < kSketchWords; ++w)
          bits += static_cast<std::int32_t>(
              bits_set(row[line * kSketchWords + w] & planes[plane * kSketchWords + w]));
        sum += plane + 1 < kSketchPlanes ? bits << plane : -(bits << plane);
      }
    }
    const float estimate = factor_of(row, query.lines) * static_cast<float>(2 * sum - query.total);
    passed[found] = rows[i];
    estimates[found] = estimate;
    found += estimate >= query.least;
  }
  return found;
}

}  // namespace
