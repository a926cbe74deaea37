// AVX-512 with VNNI and VPOPCNTDQ: Ice Lake and later, Zen 4 and later.
#include "paths.hpp"

#if defined(__AVX512VNNI__) && defined(__AVX512VPOPCNTDQ__)

#include <immintrin.h>

#include "sieve.hpp"
#include "sketches.hpp"

namespace qsearch {
namespace {

// _mm512_dpbusd_epi32, but GCC copies and spills the sum of the intrinsic at every use.
inline void multiply_add(__m512i& sum, __m512i rows, __m512i codes) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(rows), "v"(codes));
}

inline std::uint64_t reach(__m512i dots, const float* bounds, const ScanQuery& query) {
  const __m512i unbiased = _mm512_sub_epi32(dots, _mm512_set1_epi32(query.bias));
  __m512 bound = _mm512_mul_ps(_mm512_cvtepi32_ps(unbiased), _mm512_loadu_ps(bounds));
  bound = _mm512_fmadd_ps(_mm512_loadu_ps(bounds + kBlockRows),
                          _mm512_set1_ps(query.residual_factor), bound);
  bound = _mm512_fmadd_ps(_mm512_loadu_ps(bounds + 2 * kBlockRows),
                          _mm512_set1_ps(query.rest_factor), bound);
  // Compared so that what is not a number is not below.
  const __mmask16 numbers =
      _mm512_cmp_ps_mask(bound, _mm512_set1_ps(-__builtin_inff()), _CMP_GT_OQ);
  const __mmask16 below = _mm512_mask_cmp_ps_mask(numbers, bound, _mm512_set1_ps(query.threshold),
                                                  _CMP_LT_OQ);
  return static_cast<__mmask16>(~below);
}

// Four blocks against some queries, every sum in a register of its own. Written out by macros: GCC
// would keep an array of so many on the stack.
#define DECLARE(q)                                                                 \
  __m512i s##q##0 = _mm512_setzero_si512(), s##q##1 = s##q##0, s##q##2 = s##q##0, \
          s##q##3 = s##q##0;
#define ADD_PRODUCTS(q)                \
  multiply_add(s##q##0, rows0, codes); \
  multiply_add(s##q##1, rows1, codes); \
  multiply_add(s##q##2, rows2, codes); \
  multiply_add(s##q##3, rows3, codes);
#define MULTIPLY(q)                 \
  codes = _mm512_set1_epi32(at[q]); \
  ADD_PRODUCTS(q)
#define COMPARE(q)                                                              \
  masks[q] = reach(s##q##0, bounds, queries[q]) |                               \
             reach(s##q##1, bounds + 3 * kBlockRows, queries[q]) << 16 |        \
             reach(s##q##2, bounds + 6 * kBlockRows, queries[q]) << 32 |        \
             reach(s##q##3, bounds + 9 * kBlockRows, queries[q]) << 48;
#define SCAN_FOUR(name, each)                                                                   \
  void name(const std::uint8_t* blocks, const float* bounds, std::size_t groups,                \
            const std::int32_t* at, std::size_t stride, const ScanQuery* queries,               \
            std::uint64_t masks[kTileQueries]) {                                                \
    const std::size_t block_bytes = groups * kBlockRows * kGroup;                               \
    const std::uint8_t *block1 = blocks + block_bytes, *block2 = block1 + block_bytes,          \
                       *block3 = block2 + block_bytes;                                          \
    each(DECLARE) for (std::size_t g = 0; g < groups; ++g, at += stride) {                      \
      const std::size_t offset = g * kBlockRows * kGroup;                                       \
      const __m512i rows0 = _mm512_loadu_si512(blocks + offset);                                \
      const __m512i rows1 = _mm512_loadu_si512(block1 + offset);                                \
      const __m512i rows2 = _mm512_loadu_si512(block2 + offset);                                \
      const __m512i rows3 = _mm512_loadu_si512(block3 + offset);                                \
      __m512i codes;                                                                            \
      each(MULTIPLY)                                                                            \
    }                                                                                           \
    each(COMPARE)                                                                               \
  }
#define EACH_1(of) of(0)
#define EACH_2(of) EACH_1(of) of(1)
#define EACH_3(of) EACH_2(of) of(2)
#define EACH_4(of) EACH_3(of) of(3)
#define EACH_5(of) EACH_4(of) of(4)
#define EACH_6(of) EACH_5(of) of(5)
SCAN_FOUR(scan_four_2, EACH_2)
SCAN_FOUR(scan_four_3, EACH_3)
SCAN_FOUR(scan_four_4, EACH_4)
SCAN_FOUR(scan_four_5, EACH_5)
SCAN_FOUR(scan_four_6, EACH_6)

// One block against one query. Memory decides how fast this is, so it is read strictly in order, and
// asked for some lines ahead; four sums keep the multiplications from waiting for each other. Into the second
// cache: what is fetched into the first one takes the places of lines that are on their way there, of which
// AMD's Zen 4 has so few that a search took 1.4 times as long.
std::uint64_t scan_one(const std::uint8_t* block, const float* bounds, std::size_t groups,
                       const std::int32_t* at, std::size_t stride, const ScanQuery& query) {
  constexpr std::size_t kLine = kBlockRows * kGroup, kAhead = 32 * kLine;
  __m512i sums[4];
  for (auto& sum : sums) sum = _mm512_setzero_si512();
  std::size_t g = 0;
  for (; g + 4 <= groups; g += 4) {
    for (std::size_t i = 0; i < 4; ++i) {
      const std::uint8_t* line = block + (g + i) * kLine;
      __builtin_prefetch(line + kAhead, 0, 2);
      multiply_add(sums[i], _mm512_loadu_si512(line), _mm512_set1_epi32(at[(g + i) * stride]));
    }
  }
  for (; g < groups; ++g)
    multiply_add(sums[0], _mm512_loadu_si512(block + g * kLine), _mm512_set1_epi32(at[g * stride]));
  return reach(_mm512_add_epi32(_mm512_add_epi32(sums[0], sums[1]),
                                _mm512_add_epi32(sums[2], sums[3])),
               bounds, query);
}

void scan(const std::uint8_t* blocks, const float* bounds, std::size_t count, std::size_t groups,
          const std::int32_t* packed, const ScanQuery* queries, std::size_t n_queries,
          std::uint64_t masks[kTileQueries]) {
  if (count == kTileBlocks && n_queries > 1) {
    constexpr decltype(&scan_four_2) kScans[] = {scan_four_2, scan_four_3, scan_four_4, scan_four_5,
                                                 scan_four_6};
    kScans[n_queries - 2](blocks, bounds, groups, packed, n_queries, queries, masks);
    return;
  }
  for (std::size_t q = 0; q < n_queries; ++q) {
    masks[q] = 0;
    for (std::size_t b = 0; b < count; ++b)
      masks[q] |= scan_one(blocks + b * groups * kBlockRows * kGroup, bounds + b * 3 * kBlockRows,
                           groups, packed + q, n_queries, queries[q])
                  << (b * kBlockRows);
  }
}

template <int kQueries, int kWords>
void hamming_tile(const std::uint64_t* blocks, std::size_t count, std::size_t words,
                  const std::uint64_t* const* queries, const std::uint32_t* thresholds,
                  std::uint64_t masks[kTileQueries],
                  std::uint32_t distances[kTileQueries][kHammingBlocks * kHammingRows]) {
  const std::size_t end = kWords ? kWords : words;
  for (int q = 0; q < kQueries; ++q) masks[q] = 0;
  for (std::size_t b = 0; b < count; ++b) {
    const std::uint64_t* block = blocks + b * end * kHammingRows;
    __m512i sums[kQueries];
    for (auto& sum : sums) sum = _mm512_setzero_si512();
    for (std::size_t w = 0; w < end; ++w) {
      const __m512i rows = _mm512_loadu_si512(block + w * kHammingRows);
      for (int q = 0; q < kQueries; ++q) {
        const __m512i query = _mm512_set1_epi64(static_cast<long long>(queries[q][w]));
        const __m512i differing = _mm512_xor_si512(rows, query);
        sums[q] = _mm512_add_epi64(sums[q], _mm512_popcnt_epi64(differing));
      }
    }
    for (int q = 0; q < kQueries; ++q) {
      const std::uint64_t mask =
          _mm512_cmplt_epu64_mask(sums[q], _mm512_set1_epi64(thresholds[q]));
      if (__builtin_expect(mask != 0, 0)) {
        masks[q] |= mask << (b * kHammingRows);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(distances[q] + b * kHammingRows),
                            _mm512_cvtepi64_epi32(sums[q]));
      }
    }
  }
}

template <int kWords>
void hamming_words(const std::uint64_t* blocks, std::size_t count, std::size_t words,
                   const std::uint64_t* const* queries, const std::uint32_t* thresholds,
                   std::size_t n_queries, std::uint64_t masks[kTileQueries],
                   std::uint32_t distances[kTileQueries][kHammingBlocks * kHammingRows]) {
  switch (n_queries) {
    case 1: return hamming_tile<1, kWords>(blocks, count, words, queries, thresholds, masks, distances);
    case 2: return hamming_tile<2, kWords>(blocks, count, words, queries, thresholds, masks, distances);
    case 3: return hamming_tile<3, kWords>(blocks, count, words, queries, thresholds, masks, distances);
    case 4: return hamming_tile<4, kWords>(blocks, count, words, queries, thresholds, masks, distances);
    case 5: return hamming_tile<5, kWords>(blocks, count, words, queries, thresholds, masks, distances);
    default: return hamming_tile<6, kWords>(blocks, count, words, queries, thresholds, masks, distances);
  }
}

void hamming(const std::uint64_t* blocks, std::size_t count, std::size_t words,
             const std::uint64_t* const* queries, const std::uint32_t* thresholds,
             std::size_t n_queries, std::uint64_t masks[kTileQueries],
             std::uint32_t distances[kTileQueries][kHammingBlocks * kHammingRows]) {
  // The common dimensions (384, 768, 1,024) have their own code, unrolled.
  switch (words) {
    case 6: return hamming_words<6>(blocks, count, words, queries, thresholds, n_queries, masks, distances);
    case 12: return hamming_words<12>(blocks, count, words, queries, thresholds, n_queries, masks, distances);
    case 16: return hamming_words<16>(blocks, count, words, queries, thresholds, n_queries, masks, distances);
    default: return hamming_words<0>(blocks, count, words, queries, thresholds, n_queries, masks, distances);
  }
}

// vpdpbusd multiplies unsigned by signed: left gets 128 added, and 128 times the sum of right is
// taken off again.
std::int32_t int8_dot(const std::int8_t* left, const std::int8_t* right, std::size_t d,
                      std::int32_t right_sum) {
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));
  __m512i sums[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
  std::size_t i = 0;
  for (; i + 128 <= d; i += 128) {
    for (int j = 0; j < 2; ++j)
      multiply_add(sums[j], _mm512_xor_si512(_mm512_loadu_si512(left + i + 64 * j), offset),
                   _mm512_loadu_si512(right + i + 64 * j));
  }
  for (; i < d; i += 64) {
    const __mmask64 there = d - i >= 64 ? ~0ull : (1ull << (d - i)) - 1;
    const __m512i x = _mm512_maskz_loadu_epi8(there, left + i);
    multiply_add(sums[0], _mm512_xor_si512(x, offset), _mm512_maskz_loadu_epi8(there, right + i));
  }
  return _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1])) - 128 * right_sum;
}

// The sums of the lanes of four registers.
inline __m128i fold_four(__m512i sum0, __m512i sum1, __m512i sum2, __m512i sum3) {
  const __m512i first = _mm512_add_epi32(_mm512_unpacklo_epi32(sum0, sum1), _mm512_unpackhi_epi32(sum0, sum1));
  const __m512i second = _mm512_add_epi32(_mm512_unpacklo_epi32(sum2, sum3), _mm512_unpackhi_epi32(sum2, sum3));
  const __m512i all = _mm512_add_epi32(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
  return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// kDots rows against some queries, every sum in a register of its own; `dots` are (queries, kBlockRows).
// Loads are plain ones where `there` is known to be all ones.
#define LOAD(r) \
  const __m512i rows##r = _mm512_xor_si512(_mm512_maskz_loadu_epi8(there, row##r + i), offset);
#define CODES(q) const std::int8_t* codes##q = queries[q].codes;
#define MULTIPLY_CODES(q)                               \
  codes = _mm512_maskz_loadu_epi8(there, codes##q + i); \
  ADD_PRODUCTS(q)
#define FOLD(q)                                                                    \
  _mm_storeu_si128(reinterpret_cast<__m128i*>(dots + q * kBlockRows),              \
                   _mm_sub_epi32(fold_four(s##q##0, s##q##1, s##q##2, s##q##3),    \
                                 _mm_set1_epi32(128 * queries[q].sum)));
#define DOTS_OF_FOUR(name, each)                                                                            \
  void name(const std::int8_t* const rows[kDots], std::size_t d, const SieveQuery* queries,                 \
            std::int32_t* dots) {                                                                           \
    static_assert(kDots == 4);                                                                              \
    const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));                                       \
    const std::int8_t *row0 = rows[0], *row1 = rows[1], *row2 = rows[2], *row3 = rows[3];                   \
    each(CODES) each(DECLARE) std::size_t i = 0;                                                            \
    for (; i + 64 <= d; i += 64) {                                                                          \
      constexpr __mmask64 there = ~0ull;                                                                    \
      LOAD(0) LOAD(1) LOAD(2) LOAD(3)                                                                       \
      __m512i codes;                                                                                        \
      each(MULTIPLY_CODES)                                                                                  \
    }                                                                                                       \
    if (i < d) {                                                                                            \
      const __mmask64 there = (1ull << (d - i)) - 1;                                                        \
      LOAD(0) LOAD(1) LOAD(2) LOAD(3)                                                                       \
      __m512i codes;                                                                                        \
      each(MULTIPLY_CODES)                                                                                  \
    }                                                                                                       \
    each(FOLD)                                                                                              \
  }
DOTS_OF_FOUR(dots_of_four_1, EACH_1)
DOTS_OF_FOUR(dots_of_four_2, EACH_2)
DOTS_OF_FOUR(dots_of_four_3, EACH_3)
DOTS_OF_FOUR(dots_of_four_4, EACH_4)
DOTS_OF_FOUR(dots_of_four_5, EACH_5)
DOTS_OF_FOUR(dots_of_four_6, EACH_6)

void int8_dots(const std::int8_t* const rows[kDots], const std::int8_t* query, std::size_t d, std::int32_t sum,
               std::int32_t dots[kDots]) {
  const SieveQuery one = {query, sum, 0.0f, 0.0f, 0.0f};
  dots_of_four_1(rows, d, &one, dots);
}

// See sieve_rows.
inline void dots_of_four(const std::int8_t* const rows[kDots], std::size_t d, const SieveQuery* queries,
                         std::size_t n_queries, std::int32_t* dots) {
  constexpr decltype(&dots_of_four_1) kDotsOfFour[] = {dots_of_four_1, dots_of_four_2, dots_of_four_3,
                                                       dots_of_four_4, dots_of_four_5, dots_of_four_6};
  kDotsOfFour[n_queries - 1](rows, d, queries, dots);
}

inline std::uint64_t pass(const std::int32_t* dots, const float* scales, const float* residuals, std::size_t n,
                          const SieveQuery& query) {
  const auto there = static_cast<__mmask16>((1u << n) - 1);
  const __m512i dot = _mm512_maskz_loadu_epi32(there, dots);
  const __m512 scale = _mm512_maskz_loadu_ps(there, scales);
  const __m512 bound = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(there, residuals), _mm512_set1_ps(query.residual_factor),
                                       _mm512_mul_ps(_mm512_cvtepi32_ps(dot), scale));
  // Compared so that what is not a number is not out.
  __mmask16 out = _mm512_test_epi32_mask(dot, dot);
  out = _mm512_mask_cmp_ps_mask(out, scale, _mm512_setzero_ps(), _CMP_GT_OQ);
  out = _mm512_mask_cmp_ps_mask(out, bound, _mm512_set1_ps(query.least), _CMP_GT_OQ);
  out = _mm512_mask_cmp_ps_mask(out, bound, _mm512_set1_ps(query.threshold), _CMP_LT_OQ);
  return static_cast<std::uint64_t>(there & static_cast<__mmask16>(~out));
}

void sieve(const std::int8_t* rows, const float* scale, const float* residual, std::size_t count, std::size_t d,
           const SieveQuery* queries, std::size_t n_queries, std::uint64_t masks[kTileQueries]) {
  sieve_rows(rows, scale, residual, count, d, queries, n_queries, masks, dots_of_four, pass);
}

// The sums of a line of a sketch, which is a register, in eight parts.
inline __m512i line_sums(const std::uint64_t* line, const __m512i planes[kSketchPlanes]) {
  const __m512i signs = _mm512_loadu_si512(line);
  const auto bits = [&](std::size_t plane) { return _mm512_popcnt_epi64(_mm512_and_si512(signs, planes[plane])); };
  // (((-2 b4 + b3) 2 + b2) 2 + b1) 2 + b0
  __m512i sum = _mm512_sub_epi64(bits(3), _mm512_slli_epi64(bits(4), 1));
  sum = _mm512_add_epi64(_mm512_slli_epi64(sum, 1), bits(2));
  sum = _mm512_add_epi64(_mm512_slli_epi64(sum, 1), bits(1));
  return _mm512_add_epi64(_mm512_slli_epi64(sum, 1), bits(0));
}

inline void load_planes(const std::uint64_t* from, __m512i planes[kSketchPlanes]) {
  for (std::size_t plane = 0; plane < kSketchPlanes; ++plane)
    planes[plane] = _mm512_loadu_si512(from + plane * kSketchWords);
}

// kLines: one line, whose planes stay in registers, or 0 for any number.
template <std::size_t kLines>
std::size_t sift_lines(const std::uint64_t* sketches, const std::uint32_t* rows, std::size_t count,
                       const SketchQuery& query, std::uint32_t* passed, float* estimates) {
  const std::size_t lines = kLines ? kLines : query.lines;
  const std::int32_t total = query.total;
  const float least = query.least;
  __m512i planes[kSketchPlanes];
  load_planes(query.planes, planes);
  std::size_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t number = rows[i];
    const std::uint64_t* row = sketches + std::size_t{number} * lines * kSketchWords;
    __m512i sums = kLines ? line_sums(row, planes) : _mm512_setzero_si512();
    if (!kLines)
      for (std::size_t line = 0; line < lines; ++line) {
        load_planes(query.planes + line * kSketchPlanes * kSketchWords, planes);
        sums = _mm512_add_epi64(sums, line_sums(row + line * kSketchWords, planes));
      }
    const auto sum = static_cast<std::int32_t>(_mm512_reduce_add_epi64(sums));
    const float estimate = factor_of(row, lines) * static_cast<float>(2 * sum - total);
    passed[found] = number;
    estimates[found] = estimate;
    found += estimate >= least;
  }
  return found;
}

std::size_t sift(const std::uint64_t* sketches, const std::uint32_t* rows, std::size_t count,
                 const SketchQuery& query, std::uint32_t* passed, float* estimates) {
  return (query.lines == 1 ? sift_lines<1> : sift_lines<0>)(sketches, rows, count, query, passed, estimates);
}

// As fold_lanes.
inline double fold(__m512d low, __m512d high) {
  const __m512d eight = _mm512_add_pd(low, high);
  const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
  const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
  return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

template <bool kSquares>
void sum_lanes(const float* row, const double* query, std::size_t d, double* row_query, double* row_row) {
  __m512d products[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
  __m512d squares[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
  for (std::size_t i = 0; i < d; i += 16) {
    const __mmask16 there = d - i >= 16 ? 0xffff : static_cast<__mmask16>((1u << (d - i)) - 1);
    const __m512 x = _mm512_maskz_loadu_ps(there, row + i);
    const __m512d x_low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    const __m512d x_high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    const __m512d y_low = _mm512_maskz_loadu_pd(static_cast<__mmask8>(there), query + i);
    const __m512d y_high = _mm512_maskz_loadu_pd(static_cast<__mmask8>(there >> 8), query + i + 8);
    products[0] = _mm512_fmadd_pd(x_low, y_low, products[0]);
    products[1] = _mm512_fmadd_pd(x_high, y_high, products[1]);
    if (kSquares) {
      squares[0] = _mm512_fmadd_pd(x_low, x_low, squares[0]);
      squares[1] = _mm512_fmadd_pd(x_high, x_high, squares[1]);
    }
  }
  *row_query = fold(products[0], products[1]);
  if (kSquares) *row_row = fold(squares[0], squares[1]);
}

void lane_dots(const float* row, const double* query, std::size_t d, double* row_query,
               double* row_row) {
  (row_row ? sum_lanes<true> : sum_lanes<false>)(row, query, d, row_query, row_row);
}

// The row is made float64 once for all queries.
void lane_products(const float* row, const double* queries, std::size_t d, double products[kDots]) {
  __m512d low[kDots], high[kDots];
  for (std::size_t q = 0; q < kDots; ++q) low[q] = high[q] = _mm512_setzero_pd();
  for (std::size_t i = 0; i < d; i += 16) {
    const __mmask16 there = d - i >= 16 ? 0xffff : static_cast<__mmask16>((1u << (d - i)) - 1);
    const __m512 x = _mm512_maskz_loadu_ps(there, row + i);
    const __m512d x_low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    const __m512d x_high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    for (std::size_t q = 0; q < kDots; ++q) {
      const double* query = queries + q * d + i;
      low[q] = _mm512_fmadd_pd(x_low, _mm512_maskz_loadu_pd(static_cast<__mmask8>(there), query), low[q]);
      high[q] = _mm512_fmadd_pd(x_high, _mm512_maskz_loadu_pd(static_cast<__mmask8>(there >> 8), query + 8), high[q]);
    }
  }
  for (std::size_t q = 0; q < kDots; ++q) products[q] = fold(low[q], high[q]);
}

const Path kPath = {"avx512", 127, 4, scan, hamming, int8_dot, int8_dots, sieve, sift, lane_dots, lane_products};

}  // namespace

const Path* avx512_path() {
  const bool there = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                     __builtin_cpu_supports("avx512vnni") &&
                     __builtin_cpu_supports("avx512vpopcntdq");
  return there ? &kPath : nullptr;
}

}  // namespace qsearch

#else

namespace qsearch {
const Path* avx512_path() { return nullptr; }
}  // namespace qsearch

#endif
