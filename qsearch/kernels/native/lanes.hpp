// Sums over sixteen lanes, where they are the same in every path.
#pragma once

#include <cstddef>

#include "paths.hpp"

namespace {

// Add the products and, where they are wanted, squares of components [start, end), at most sixteen, to lanes
// 0, 1, …
template <bool kSquares>
[[maybe_unused]] inline void add_to_lanes(const float* row, const double* query, std::size_t start,
                                          std::size_t end, double* products, double* squares) {
  for (std::size_t i = start; i < end; ++i) {
    const double x = row[i];
    products[i - start] += x * query[i];
    if (kSquares) squares[i - start] += x * x;
  }
}

inline double fold_lanes(double* lanes) {
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

// Path::lane_products where several take as long as each alone.
template <auto kLaneDots>
void products_one_by_one(const float* row, const double* queries, std::size_t d, double products[qsearch::kDots]) {
  for (std::size_t i = 0; i < qsearch::kDots; ++i) kLaneDots(row, queries + i * d, d, products + i, nullptr);
}

}  // namespace
