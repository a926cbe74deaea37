// NEON, twice: compiled as it is for every 64-bit ARM, and with QSEARCH_DOT for processors with the
// dot product instructions (ARMv8.2 and later: Graviton 2, Apple M1, Raspberry Pi 5).
#include "paths.hpp"

#if defined(__aarch64__)

#include <arm_neon.h>

#if defined(__linux__)
#include <sys/auxv.h>
#endif

#include "lanes.hpp"
#include "sieve.hpp"
#include "sketches.hpp"

namespace qsearch {
namespace {

inline int32x4_t add_products(int32x4_t sum, int8x16_t rows, int8x16_t codes) {
#if defined(QSEARCH_DOT)
  return vdotq_s32(sum, rows, codes);
#else
  const int16x8_t low = vmull_s8(vget_low_s8(rows), vget_low_s8(codes));
  const int16x8_t high = vmull_high_s8(rows, codes);
  return vaddq_s32(sum, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
#endif
}

template <int kQueries>
void scan_block(const std::uint8_t* block, const float* bounds, std::size_t groups,
                const std::int32_t* packed, std::size_t stride, const ScanQuery* queries,
                std::uint64_t* masks, std::size_t b) {
  const uint8x16_t offset = vdupq_n_u8(0x80);
  int32x4_t dots[kQueries][4];
  for (auto& of_query : dots)
    for (auto& four : of_query) four = vdupq_n_s32(0);
  for (std::size_t g = 0; g < groups; ++g) {
    const std::uint8_t* group = block + g * kBlockRows * kGroup;
    int8x16_t rows[4];
    for (int i = 0; i < 4; ++i)
      rows[i] = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(group + 16 * i), offset));
    for (int q = 0; q < kQueries; ++q) {
      const int8x16_t codes = vreinterpretq_s8_s32(vdupq_n_s32(packed[g * stride + q]));
      for (int i = 0; i < 4; ++i) dots[q][i] = add_products(dots[q][i], rows[i], codes);
    }
  }
  const uint32x4_t weights = {1, 2, 4, 8};
  for (int q = 0; q < kQueries; ++q) {
    std::uint32_t mask = 0;
    for (int i = 0; i < 4; ++i) {
      const float* bound_of = bounds + 4 * i;
      float32x4_t bound = vmulq_f32(vcvtq_f32_s32(dots[q][i]), vld1q_f32(bound_of));
      bound = vfmaq_n_f32(bound, vld1q_f32(bound_of + kBlockRows), queries[q].residual_factor);
      bound = vfmaq_n_f32(bound, vld1q_f32(bound_of + 2 * kBlockRows), queries[q].rest_factor);
      // Compared so that what is not a number is not below.
      const uint32x4_t below = vandq_u32(vcltq_f32(bound, vdupq_n_f32(queries[q].threshold)),
                                         vcgtq_f32(bound, vdupq_n_f32(-__builtin_inff())));
      mask |= vaddvq_u32(vbicq_u32(weights, below)) << (4 * i);
    }
    masks[q] |= static_cast<std::uint64_t>(mask) << (b * kBlockRows);
  }
}

void scan(const std::uint8_t* blocks, const float* bounds, std::size_t count, std::size_t groups,
          const std::int32_t* packed, const ScanQuery* queries, std::size_t n_queries,
          std::uint64_t masks[kTileQueries]) {
  for (std::size_t q = 0; q < n_queries; ++q) masks[q] = 0;
  for (std::size_t b = 0; b < count; ++b) {
    const std::uint8_t* block = blocks + b * groups * kBlockRows * kGroup;
    const float* bound = bounds + b * 3 * kBlockRows;
    std::size_t q = 0;
    for (; q + 3 <= n_queries; q += 3)
      scan_block<3>(block, bound, groups, packed + q, n_queries, queries + q, masks + q, b);
    for (; q < n_queries; ++q)
      scan_block<1>(block, bound, groups, packed + q, n_queries, queries + q, masks + q, b);
  }
}

void hamming(const std::uint64_t* blocks, std::size_t count, std::size_t words,
             const std::uint64_t* const* queries, const std::uint32_t* thresholds,
             std::size_t n_queries, std::uint64_t masks[kTileQueries],
             std::uint32_t distances[kTileQueries][kHammingBlocks * kHammingRows]) {
  for (std::size_t q = 0; q < n_queries; ++q) {
    masks[q] = 0;
    for (std::size_t b = 0; b < count; ++b) {
      const std::uint64_t* block = blocks + b * words * kHammingRows;
      uint64x2_t sums[4];
      for (auto& sum : sums) sum = vdupq_n_u64(0);
      for (std::size_t start = 0; start < words; start += 31) {  // 31 words: bytes stay below 256
        const std::size_t end = words - start < 31 ? words : start + 31;
        uint8x16_t bytes[4];
        for (auto& sum : bytes) sum = vdupq_n_u8(0);
        for (std::size_t w = start; w < end; ++w) {
          const uint64x2_t query = vdupq_n_u64(queries[q][w]);
          for (int i = 0; i < 4; ++i) {
            const uint64x2_t rows = vld1q_u64(block + w * kHammingRows + 2 * i);
            bytes[i] = vaddq_u8(bytes[i], vcntq_u8(vreinterpretq_u8_u64(veorq_u64(rows, query))));
          }
        }
        for (int i = 0; i < 4; ++i)
          sums[i] = vaddq_u64(sums[i], vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(bytes[i]))));
      }
      std::uint64_t wide[kHammingRows];
      for (int i = 0; i < 4; ++i) vst1q_u64(wide + 2 * i, sums[i]);
      for (std::size_t r = 0; r < kHammingRows; ++r) {
        distances[q][b * kHammingRows + r] = static_cast<std::uint32_t>(wide[r]);
        masks[q] |= static_cast<std::uint64_t>(wide[r] < thresholds[q]) << (b * kHammingRows + r);
      }
    }
  }
}

std::int32_t int8_dot(const std::int8_t* left, const std::int8_t* right, std::size_t d,
                      std::int32_t) {
  int32x4_t sum = vdupq_n_s32(0);
  std::size_t i = 0;
  for (; i + 16 <= d; i += 16) sum = add_products(sum, vld1q_s8(left + i), vld1q_s8(right + i));
  std::int32_t total = vaddvq_s32(sum);
  for (; i < d; ++i) total += left[i] * right[i];
  return total;
}

std::size_t sift(const std::uint64_t* sketches, const std::uint32_t* rows, std::size_t count,
                 const SketchQuery& query, std::uint32_t* passed, float* estimates) {
  return sift_rows(sketches, rows, count, query, passed, estimates,
                   [](std::uint64_t x) { return __builtin_popcountll(x); });
}

template <bool kSquares>
void sum_lanes(const float* row, const double* query, std::size_t d, double* row_query, double* row_row) {
  float64x2_t products[8];
  float64x2_t squares[8];
  for (int j = 0; j < 8; ++j) products[j] = squares[j] = vdupq_n_f64(0.0);
  std::size_t i = 0;
  for (; i + 16 <= d; i += 16) {
    for (int j = 0; j < 8; ++j) {
      const float64x2_t x = vcvt_f64_f32(vld1_f32(row + i + 2 * j));
      const float64x2_t y = vld1q_f64(query + i + 2 * j);
      products[j] = vfmaq_f64(products[j], x, y);
      if (kSquares) squares[j] = vfmaq_f64(squares[j], x, x);
    }
  }
  double lanes[16];
  double own[16];
  for (int j = 0; j < 8; ++j) {
    vst1q_f64(lanes + 2 * j, products[j]);
    if (kSquares) vst1q_f64(own + 2 * j, squares[j]);
  }
  add_to_lanes<kSquares>(row, query, i, d, lanes, own);
  *row_query = fold_lanes(lanes);
  if (kSquares) *row_row = fold_lanes(own);
}

void lane_dots(const float* row, const double* query, std::size_t d, double* row_query,
               double* row_row) {
  (row_row ? sum_lanes<true> : sum_lanes<false>)(row, query, d, row_query, row_row);
}

#if defined(QSEARCH_DOT)
const Path kPath = {"neon_dot", 127, 2, scan, hamming, int8_dot, dots_one_by_one<int8_dot>,
                    sieve_one_by_one<int8_dot>, sift, lane_dots, products_one_by_one<lane_dots>};
#else
const Path kPath = {"neon", 127, 2, scan, hamming, int8_dot, dots_one_by_one<int8_dot>,
                    sieve_one_by_one<int8_dot>, sift, lane_dots, products_one_by_one<lane_dots>};
#endif

}  // namespace

#if defined(QSEARCH_DOT)
const Path* neon_dot_path() {
#if defined(__APPLE__)
  return &kPath;
#elif defined(__linux__)
  return (getauxval(AT_HWCAP) & (1ul << 20)) ? &kPath : nullptr;  // HWCAP_ASIMDDP
#else
  return nullptr;
#endif
}
#else
const Path* neon_path() { return &kPath; }
#endif

}  // namespace qsearch

#else

namespace qsearch {
#if defined(QSEARCH_DOT)
const Path* neon_dot_path() { return nullptr; }
#else
const Path* neon_path() { return nullptr; }
#endif
}  // namespace qsearch

#endif
