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

void code_rows(const double* values, std::size_t n, std::size_t m, std::size_t padded, double most,
               std::int8_t* codes, double* sums) {
  for (std::size_t row = 0; row < n; ++row) {
    const double* x = values + row * m;
    std::int8_t* code = codes + row * padded;
    double largest = 0.0;
    for (std::size_t i = 0; i < m; ++i) largest = std::max(largest, std::fabs(x[i]));
    const double factor = largest > 0.0 ? largest / most : 1.0;
    double lanes[16] = {};
    std::int64_t squares = 0;
    for (std::size_t i = 0; i < m; ++i) {
      const double rounded = std::nearbyint(x[i] / factor);
      const double lost = x[i] - factor * rounded;
      lanes[i % 16] += lost * lost;
      code[i] = static_cast<std::int8_t>(rounded);
      squares += static_cast<std::int64_t>(rounded) * static_cast<std::int64_t>(rounded);
    }
    for (std::size_t i = m; i < padded; ++i) code[i] = 0;
    sums[3 * row] = factor;
    sums[3 * row + 1] = static_cast<double>(squares);
    sums[3 * row + 2] = fold_lanes(lanes);
  }
}

void project(const Path& path, const float* rows, std::size_t n, std::size_t d, const float* axes,
             std::size_t h, double* result, std::size_t threads) {
  const std::size_t parts = std::max<std::size_t>(1, std::min(threads, n));
  in_parallel(parts, [&](std::size_t part) {
    const std::size_t first = share(n, parts, part), last = share(n, parts, part + 1);
    const std::vector<double> wide(rows + first * d, rows + last * d);
    for (std::size_t axis = 0; axis < h; ++axis)
      for (std::size_t row = first; row < last; ++row) {
        double own;
        path.lane_dots(axes + axis * d, wide.data() + (row - first) * d, d, &result[row * h + axis], &own);
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
