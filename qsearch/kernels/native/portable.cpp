// Plain C++: what every other path is compared with, and what runs where there is no better one.
#include "lanes.hpp"
#include "paths.hpp"
#include "sieve.hpp"
#include "sketches.hpp"

namespace qsearch {
namespace {

void scan(const std::uint8_t* blocks, const float* bounds, std::size_t count, std::size_t groups,
          const std::int32_t* packed, const ScanQuery* queries, std::size_t n_queries,
          std::uint64_t masks[kTileQueries]) {
  for (std::size_t q = 0; q < n_queries; ++q) masks[q] = 0;
  for (std::size_t b = 0; b < count; ++b) {
    const std::uint8_t* block = blocks + b * groups * kBlockRows * kGroup;
    const float* scale = bounds + b * 3 * kBlockRows;
    const float* residual = scale + kBlockRows;
    const float* rest = residual + kBlockRows;
    for (std::size_t q = 0; q < n_queries; ++q) {
      std::int32_t dots[kBlockRows] = {};
      for (std::size_t g = 0; g < groups; ++g) {
        std::int8_t code[kGroup];
        __builtin_memcpy(code, packed + g * n_queries + q, sizeof code);
        const std::uint8_t* group = block + g * kBlockRows * kGroup;
        for (std::size_t r = 0; r < kBlockRows; ++r)
          for (std::size_t i = 0; i < kGroup; ++i) dots[r] += group[r * kGroup + i] * code[i];
      }
      for (std::size_t r = 0; r < kBlockRows; ++r) {
        const float product = static_cast<float>(dots[r] - queries[q].bias) * scale[r];
        const float bound = product + queries[q].residual_factor * residual[r] +
                            queries[q].rest_factor * rest[r];
        const bool below = bound < queries[q].threshold && bound > -__builtin_inff();
        masks[q] |= static_cast<std::uint64_t>(!below) << (b * kBlockRows + r);
      }
    }
  }
}

inline std::uint32_t bits_set(std::uint64_t x) {
  x -= (x >> 1) & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + ((x >> 2) & 0x3333333333333333u);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fu;
  return static_cast<std::uint32_t>((x * 0x0101010101010101u) >> 56);
}

void hamming(const std::uint64_t* blocks, std::size_t count, std::size_t words,
             const std::uint64_t* const* queries, const std::uint32_t* thresholds,
             std::size_t n_queries, std::uint64_t masks[kTileQueries],
             std::uint32_t distances[kTileQueries][kHammingBlocks * kHammingRows]) {
  for (std::size_t q = 0; q < n_queries; ++q) {
    masks[q] = 0;
    for (std::size_t b = 0; b < count; ++b) {
      const std::uint64_t* block = blocks + b * words * kHammingRows;
      std::uint32_t* sums = distances[q] + b * kHammingRows;
      for (std::size_t r = 0; r < kHammingRows; ++r) sums[r] = 0;
      for (std::size_t w = 0; w < words; ++w)
        for (std::size_t r = 0; r < kHammingRows; ++r)
          sums[r] += bits_set(block[w * kHammingRows + r] ^ queries[q][w]);
      for (std::size_t r = 0; r < kHammingRows; ++r)
        masks[q] |= static_cast<std::uint64_t>(sums[r] < thresholds[q]) << (b * kHammingRows + r);
    }
  }
}

std::int32_t int8_dot(const std::int8_t* left, const std::int8_t* right, std::size_t d,
                      std::int32_t) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < d; ++i) sum += left[i] * right[i];
  return sum;
}

std::size_t sift(const std::uint64_t* sketches, const std::uint32_t* rows, std::size_t count,
                 const SketchQuery& query, std::uint32_t* passed, float* estimates) {
  return sift_rows(sketches, rows, count, query, passed, estimates, bits_set);
}

template <bool kSquares>
void sum_lanes(const float* row, const double* query, std::size_t d, double* row_query, double* row_row) {
  double products[16] = {};
  double squares[16] = {};
  for (std::size_t start = 0; start < d; start += 16) {
    const std::size_t end = d - start < 16 ? d : start + 16;
    add_to_lanes<kSquares>(row, query, start, end, products, squares);
  }
  *row_query = fold_lanes(products);
  if (kSquares) *row_row = fold_lanes(squares);
}

void lane_dots(const float* row, const double* query, std::size_t d, double* row_query,
               double* row_row) {
  (row_row ? sum_lanes<true> : sum_lanes<false>)(row, query, d, row_query, row_row);
}

const Path kPath = {"portable", 127, 2, scan, hamming, int8_dot, dots_one_by_one<int8_dot>,
                    sieve_one_by_one<int8_dot>, sift, lane_dots, products_one_by_one<lane_dots>};

}  // namespace

const Path* portable_path() { return &kPath; }

}  // namespace qsearch
