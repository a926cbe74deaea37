// The codes of queries, and what they say of a cosine at most. kernels/reference.py defines all of it.
#include <algorithm>
#include <cmath>
#include <vector>

#include "bounds.hpp"
#include "lanes.hpp"
#include "pool.hpp"
#include "search.hpp"

namespace qsearch {
namespace {

constexpr std::size_t kTogether = 32;  // rows that are made float64 at a time

// To the nearest whole number, halves to the even one, as rint: for what is far below 2^51. Without a call
// for every component, which rint is where no instruction for it can be taken for granted.
inline double rounded(double value) {
  constexpr double kShift = 0x1.8p52;
  return (value + kShift) - kShift;
}

// Behind m the codes are 0 up to `padded`.
template <typename T>
CodeSums code_row(const T* x, std::size_t m, std::size_t padded, double most, std::int8_t* code) {
  double largest = 0.0;
  for (std::size_t i = 0; i < m; ++i) largest = std::max(largest, std::fabs(static_cast<double>(x[i])));
  const double factor = largest > 0.0 ? largest / most : 1.0;
  double lanes[16] = {};
  std::int32_t squares = 0;  // at most 127^2 times the components
  for (std::size_t i = 0; i < m; ++i) {
    const double whole = rounded(static_cast<double>(x[i]) / factor);
    const double lost = static_cast<double>(x[i]) - factor * whole;
    lanes[i % 16] += lost * lost;
    const std::int32_t number = static_cast<std::int32_t>(whole);
    code[i] = static_cast<std::int8_t>(number);
    squares += number * number;
  }
  std::fill(code + m, code + padded, std::int8_t{0});
  return {factor, static_cast<double>(squares), fold_lanes(lanes)};
}

// `wide` is as long as the row, and holds it on return.
double squared_length(const Path& path, const float* row, std::vector<double>& wide) {
  std::copy_n(row, wide.size(), wide.begin());
  double square;
  path.lane_dots(row, wide.data(), wide.size(), &square, nullptr);
  return square;
}

double squared_length(const double* x, std::size_t m) {
  double lanes[16] = {};
  for (std::size_t i = 0; i < m; ++i) lanes[i % 16] += x[i] * x[i];
  return fold_lanes(lanes);
}

}  // namespace

std::size_t first_unusable(const Path& path, const float* rows, std::size_t n, std::size_t d) {
  std::vector<double> wide(d);
  for (std::size_t row = 0; row < n; ++row) {
    const double square = squared_length(path, rows + row * d, wide);
    if (!(square > 0.0 && std::isfinite(square))) return row;
  }
  return n;
}

void normalize(const Path& path, const float* rows, std::size_t n, std::size_t d, float* result) {
  std::vector<double> wide(d);
  for (std::size_t row = 0; row < n; ++row) {
    const double length = std::sqrt(squared_length(path, rows + row * d, wide));
    for (std::size_t i = 0; i < d; ++i) result[row * d + i] = static_cast<float>(wide[i] / length);
  }
}

void code_rows(const float* rows, std::size_t n, std::size_t d, double most, const Margins& margins,
               std::int8_t* codes, Interval* intervals) {
  for (std::size_t row = 0; row < n; ++row)
    intervals[row] = interval_of(code_row(rows + row * d, d, d, most, codes + row * d), 0.0, margins);
}

// Not by BLAS: its threads spin for a while behind a product, and a scan that follows has to share the
// processors with them (half as fast, on two).
void code_projections(const Path& path, const float* rows, std::size_t n, std::size_t d, const Rotation& rotation,
                      std::size_t padded, double most, std::int8_t* codes, Interval* intervals,
                      std::size_t threads) {
  const std::size_t parts = std::max<std::size_t>(1, std::min(threads, n)), h = rotation.h;
  in_parallel(parts, [&](std::size_t part) {
    const std::size_t last = share(n, parts, part + 1);
    std::vector<double> products(kTogether * h);
    for (std::size_t first = share(n, parts, part); first < last; first += kTogether) {
      const std::size_t count = std::min(kTogether, last - first);
      const std::vector<double> wide(rows + first * d, rows + (first + count) * d);
      std::size_t i = 0;
      for (; i + kDots <= count; i += kDots)
        for (std::size_t axis = 0; axis < h; ++axis) {
          double of[kDots];
          path.lane_products(rotation.axes + axis * d, wide.data() + i * d, d, of);
          for (std::size_t j = 0; j < kDots; ++j) products[(i + j) * h + axis] = of[j];
        }
      for (; i < count; ++i)
        for (std::size_t axis = 0; axis < h; ++axis)
          path.lane_dots(rotation.axes + axis * d, wide.data() + i * d, d, &products[i * h + axis], nullptr);
      for (i = 0; i < count; ++i) {
        const std::size_t row = first + i;
        const double* kept = products.data() + i * h;
        double whole;
        path.lane_dots(rows + row * d, wide.data() + i * d, d, &whole, nullptr);
        const CodeSums sums = code_row(kept, h, padded, most, codes + row * padded);
        intervals[row] = interval_of(sums, whole - squared_length(kept, h), rotation.margins);
      }
    }
  });
}

}  // namespace qsearch
