// Scores of chosen rows.
#include <algorithm>
#include <optional>
#include <vector>

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
