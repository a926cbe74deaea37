// A sieve by int8 codes, where it is the same in every path but for how products are added up.
#pragma once

#include <cstddef>
#include <cstdint>

#include "paths.hpp"

namespace {

// kDots rows from row `first` on. Behind the last one it is repeated.
inline void rows_from(const std::int8_t* rows, std::size_t first, std::size_t count, std::size_t d,
                      const std::int8_t* result[qsearch::kDots]) {
  for (std::size_t i = 0; i < qsearch::kDots; ++i)
    result[i] = rows + (first + i < count ? first + i : count - 1) * d;
}

// The codes of kDots rows some way ahead of row `first`: rows come from memory, one behind the other, and the
// processor alone does not keep up. Behind the last row this asks for what nobody reads.
inline void fetch_ahead(const std::int8_t* rows, std::size_t first, std::size_t d) {
  constexpr std::size_t kAhead = 8;
  const char* codes = reinterpret_cast<const char*>(rows) + (first + kAhead) * d;
  for (std::size_t i = 0; i < qsearch::kDots * d; i += 64) __builtin_prefetch(codes + i);
}

// See Path::sieve. `dots_of(rows, d, queries, n_queries, dots)` multiplies kDots rows with all queries, whose dots are
// kBlockRows apart, and `reach(dots, scale, residual, n, query)` gives a bit for each of n rows, at most a block, that
// passes.
template <typename Dots, typename Reach>
inline void sieve_rows(const std::int8_t* rows, const float* scale, const float* residual, std::size_t count,
                       std::size_t d, const qsearch::SieveQuery* queries, std::size_t n_queries, std::uint64_t* masks,
                       Dots dots_of, Reach reach) {
  using namespace qsearch;
  for (std::size_t q = 0; q < n_queries; ++q) masks[q] = 0;
  for (std::size_t first = 0; first < count; first += kBlockRows) {
    const std::size_t n = count - first < kBlockRows ? count - first : kBlockRows;
    std::int32_t dots[kTileQueries * kBlockRows];
    for (std::size_t four = 0; four < n; four += kDots) {
      const std::int8_t* some[kDots];
      rows_from(rows, first + four, count, d, some);
      fetch_ahead(rows, first + four, d);
      dots_of(some, d, queries, n_queries, dots + four);
    }
    for (std::size_t q = 0; q < n_queries; ++q) {
      const std::uint64_t passed = reach(dots + q * kBlockRows, scale + first, residual + first, n, queries[q]);
      masks[q] |= passed << first;
    }
  }
}

// Of `sieve_rows`: with Path::int8_dots, query by query.
template <auto kDotsOfOne>
inline void dots_by_query(const std::int8_t* const rows[qsearch::kDots], std::size_t d,
                          const qsearch::SieveQuery* queries, std::size_t n_queries, std::int32_t* dots) {
  for (std::size_t q = 0; q < n_queries; ++q)
    kDotsOfOne(rows, queries[q].codes, d, queries[q].sum, dots + q * qsearch::kBlockRows);
}

[[maybe_unused]] inline bool passes(std::int32_t dot, float scale, float residual, const qsearch::SieveQuery& query) {
  const float product = static_cast<float>(dot) * scale;
  const float bound = product + query.residual_factor * residual;
  return !(dot != 0 && scale > 0.0f && bound > query.least && bound < query.threshold);
}

[[maybe_unused]] inline std::uint32_t rows_that_pass(const std::int32_t* dots, const float* scale, const float* residual,
                                                     std::size_t n, const qsearch::SieveQuery& query) {
  std::uint32_t mask = 0;
  for (std::size_t r = 0; r < n; ++r)
    mask |= static_cast<std::uint32_t>(passes(dots[r], scale[r], residual[r], query)) << r;
  return mask;
}

// Path::int8_dots and Path::sieve where several dots take as long as each alone.
template <auto kDot>
void dots_one_by_one(const std::int8_t* const rows[qsearch::kDots], const std::int8_t* query, std::size_t d,
                     std::int32_t sum, std::int32_t dots[qsearch::kDots]) {
  for (std::size_t i = 0; i < qsearch::kDots; ++i) dots[i] = kDot(rows[i], query, d, sum);
}

template <auto kDot>
void sieve_one_by_one(const std::int8_t* rows, const float* scale, const float* residual, std::size_t count,
                      std::size_t d, const qsearch::SieveQuery* queries, std::size_t n_queries, std::uint64_t* masks) {
  sieve_rows(rows, scale, residual, count, d, queries, n_queries, masks, dots_by_query<dots_one_by_one<kDot>>,
             rows_that_pass);
}

}  // namespace
