// Scores of chosen rows, and the codes of queries.
#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "lanes.hpp"
#include "pool.hpp"
#include "scorer.hpp"
#include "search.hpp"
#include "selection.hpp"

namespace qsearch {
namespace {

constexpr std::size_t kAhead = 6;    // rows that are fetched before they are needed
constexpr std::size_t kLook = 4096;  // rows between two looks at whether this is still wanted

// To the nearest whole number, halves to the even one, as rint: for what is far below 2^51. Without a call
// for every component, which rint is where no instruction for it can be taken for granted.
inline double rounded(double value) {
  constexpr double kShift = 0x1.8p52;
  return (value + kShift) - kShift;
}

template <typename T>
void code_row(const T* x, std::size_t m, std::size_t padded, double most, std::int8_t* code, double* sums) {
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
  sums[0] = factor;
  sums[1] = squares;
  sums[2] = fold_lanes(lanes);
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

void int8_gather(const Path& path, const std::int8_t* codes, const float* scale, std::size_t d,
                 const std::int8_t* queries, std::size_t n_queries, const std::int64_t* indices,
                 std::size_t width, float* result, std::size_t threads, Watch* watch) {
  const std::size_t total = n_queries * width;
  const std::size_t parts = std::max<std::size_t>(1, std::min(threads, total / 1024));
  in_parallel(parts, [&](std::size_t part) {
    const std::size_t end = share(total, parts, part + 1);
    std::size_t of = n_queries;
    std::int32_t sum = 0;
    for (std::size_t i = share(total, parts, part); i < end; ++i) {
      if (i % kLook == 0 && stop(watch)) return;
      if (i + kAhead < end && indices[i + kAhead] >= 0) {
        const std::size_t next = static_cast<std::size_t>(indices[i + kAhead]);
        for (std::size_t j = 0; j < d; j += 64) __builtin_prefetch(codes + next * d + j);
        __builtin_prefetch(scale + next);
      }
      if (indices[i] < 0) {
        result[i] = kNone;
        continue;
      }
      const std::size_t row = static_cast<std::size_t>(indices[i]);
      const std::size_t q = i / width;
      if (q != of) {
        of = q;
        sum = 0;
        for (std::size_t j = 0; j < d; ++j) sum += queries[q * d + j];
      }
      const std::int32_t dot = path.int8_dot(codes + row * d, queries + q * d, d, sum);
      result[i] = scale[row] * static_cast<float>(dot);
    }
  }, watch);
}

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

void code_rows(const float* rows, std::size_t n, std::size_t d, double most, std::int8_t* codes, double* sums) {
  for (std::size_t row = 0; row < n; ++row)
    code_row(rows + row * d, d, d, most, codes + row * d, sums + row * 3);
}

void code_projections(const Path& path, const float* rows, std::size_t n, std::size_t d, const float* axes,
                      std::size_t h, std::size_t padded, double most, std::int8_t* codes, double* sums,
                      std::size_t threads) {
  const std::size_t parts = std::max<std::size_t>(1, std::min(threads, n));
  in_parallel(parts, [&](std::size_t part) {
    const std::size_t first = share(n, parts, part), last = share(n, parts, part + 1);
    const std::vector<double> wide(rows + first * d, rows + last * d);
    std::vector<double> products((last - first) * h);
    for (std::size_t axis = 0; axis < h; ++axis)  // each is read once, for all rows
      for (std::size_t row = 0; row < last - first; ++row)
        path.lane_dots(axes + axis * d, wide.data() + row * d, d, &products[row * h + axis], nullptr);
    for (std::size_t row = first; row < last; ++row) {
      const double* kept = products.data() + (row - first) * h;
      double* sum = sums + row * 5;
      code_row(kept, h, padded, most, codes + row * padded, sum);
      sum[3] = squared_length(kept, h);
      path.lane_dots(rows + row * d, wide.data() + (row - first) * d, d, &sum[4], nullptr);
    }
  });
}

void cosine_gather(const Path& path, const float* rows, std::size_t d, const float* queries,
                   std::size_t n_queries, const std::int64_t* indices, std::size_t width,
                   float* result, std::size_t threads, Watch* watch) {
  const std::size_t total = n_queries * width;
  const std::size_t parts = std::max<std::size_t>(1, std::min(threads, total / 1024));
  in_parallel(parts, [&](std::size_t part) {
    const std::size_t end = share(total, parts, part + 1);
    std::size_t of = n_queries;
    std::optional<Scorer> scorer;
    for (std::size_t i = share(total, parts, part); i < end; ++i) {
      if (i % kLook == 0 && stop(watch)) return;
      if (i + 2 < end && indices[i + 2] >= 0) {
        const float* next = rows + static_cast<std::size_t>(indices[i + 2]) * d;
        for (std::size_t j = 0; j < d; j += 16) __builtin_prefetch(next + j);
      }
      if (indices[i] < 0) {
        result[i] = kNone;
        continue;
      }
      const std::size_t q = i / width;
      if (q != of) {
        scorer.emplace(path, queries + q * d, d);
        of = q;
      }
      result[i] = scorer->score(rows + static_cast<std::size_t>(indices[i]) * d);
    }
  }, watch);
}

}  // namespace qsearch
