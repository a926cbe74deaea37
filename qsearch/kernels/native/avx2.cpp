// AVX2 and FMA: x86 processors since 2013.
#include "paths.hpp"

#if defined(__AVX2__) && defined(__FMA__)

#include <immintrin.h>

#include "lanes.hpp"
#include "sieve.hpp"
#include "sketches.hpp"

namespace qsearch {
namespace {

inline __m256i add_pairs(__m256i sum, __m256i pairs) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// Two products of int8 numbers go into one int16 sum. With both factors within ±127 (codes never
// are -128) that is at most 32,258: nothing saturates.
inline __m256i add_products(__m256i sum, __m256i magnitude, __m256i sign, __m256i codes) {
  return add_pairs(sum, _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(codes, sign)));
}

template <typename Code>
__m256i load(const Code* codes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
}

// Many queries take the rows as they are stored, 0 to 255. With codes of queries within ±32 four products are
// at most 32,640 together, so they are added up as int16 too, and no signs have to be moved.
constexpr std::int32_t kMostCode = 32;

inline __m256i products(const std::uint8_t* rows, __m256i codes) {
  return _mm256_maddubs_epi16(load(rows), codes);
}

inline std::uint32_t reach(__m256i dots, const float* bounds, const ScanQuery& query) {
  __m256 bound = _mm256_mul_ps(_mm256_cvtepi32_ps(dots), _mm256_loadu_ps(bounds));
  bound = _mm256_fmadd_ps(_mm256_loadu_ps(bounds + kBlockRows),
                          _mm256_set1_ps(query.residual_factor), bound);
  bound = _mm256_fmadd_ps(_mm256_loadu_ps(bounds + 2 * kBlockRows),
                          _mm256_set1_ps(query.rest_factor), bound);
  // Compared so that what is not a number is not below.
  const __m256 numbers = _mm256_cmp_ps(bound, _mm256_set1_ps(-__builtin_inff()), _CMP_GT_OQ);
  const __m256 below = _mm256_and_ps(
      numbers, _mm256_cmp_ps(bound, _mm256_set1_ps(query.threshold), _CMP_LT_OQ));
  return static_cast<std::uint32_t>(_mm256_movemask_ps(below)) ^ 0xff;
}

inline std::uint64_t reach(const __m256i dots[2], const float* bounds, const ScanQuery& query,
                           std::size_t b) {
  return static_cast<std::uint64_t>(reach(dots[0], bounds, query) |
                                    reach(dots[1], bounds + 8, query) << 8)
         << (b * kBlockRows);
}

constexpr std::size_t kBytes = kBlockRows * kGroup, kHalf = kBytes / 2;  // of a group of components

// kQueries queries with codes within ±kMostCode.
template <std::size_t kQueries>
void scan_block(const std::uint8_t* block, const float* bounds, std::size_t groups,
                const std::int32_t* packed, std::size_t stride, const ScanQuery* queries,
                std::uint64_t* masks, std::size_t b) {
  __m256i dots[kQueries][2];
  for (std::size_t q = 0; q < kQueries; ++q)
    dots[q][0] = dots[q][1] = _mm256_set1_epi32(-queries[q].bias);
  std::size_t g = 0;
  for (; g + 2 <= groups; g += 2) {
    const std::uint8_t* group = block + g * kBytes;
    for (std::size_t q = 0; q < kQueries; ++q) {
      const __m256i codes = _mm256_set1_epi32(packed[g * stride + q]);
      const __m256i next = _mm256_set1_epi32(packed[(g + 1) * stride + q]);
      for (std::size_t half = 0; half < 2; ++half) {
        const std::uint8_t* rows = group + half * kHalf;
        dots[q][half] = add_pairs(
            dots[q][half], _mm256_add_epi16(products(rows, codes), products(rows + kBytes, next)));
      }
    }
  }
  if (g < groups)
    for (std::size_t q = 0; q < kQueries; ++q)
      for (std::size_t half = 0; half < 2; ++half)
        dots[q][half] = add_pairs(dots[q][half], products(block + g * kBytes + half * kHalf,
                                                          _mm256_set1_epi32(packed[g * stride + q])));
  for (std::size_t q = 0; q < kQueries; ++q) masks[q] |= reach(dots[q], bounds, queries[q], b);
}

// Bytes ahead that are fetched for a single query: it is a stream, and the processor alone does not keep up.
constexpr std::size_t kAhead = 6144;

// One query with codes within ±127: signs are moved from the rows to its codes.
void scan_block_finely(const std::uint8_t* block, const float* bounds, std::size_t groups,
                       const std::int32_t* packed, std::size_t stride, const ScanQuery& query,
                       std::uint64_t* mask, std::size_t b) {
  const __m256i offset = _mm256_set1_epi8(static_cast<char>(0x80));
  __m256i dots[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  for (std::size_t g = 0; g < groups; ++g) {
    const std::uint8_t* group = block + g * kBytes;
    __builtin_prefetch(group + kAhead);
    const __m256i codes = _mm256_set1_epi32(packed[g * stride]);
    for (std::size_t half = 0; half < 2; ++half) {
      const __m256i rows = _mm256_xor_si256(load(group + half * kHalf), offset);
      dots[half] = add_products(dots[half], _mm256_abs_epi8(rows), rows, codes);
    }
  }
  *mask |= reach(dots, bounds, query, b);
}

void scan(const std::uint8_t* blocks, const float* bounds, std::size_t count, std::size_t groups,
          const std::int32_t* packed, const ScanQuery* queries, std::size_t n_queries,
          std::uint64_t masks[kTileQueries]) {
  for (std::size_t q = 0; q < n_queries; ++q) masks[q] = 0;
  for (std::size_t b = 0; b < count; ++b) {
    const std::uint8_t* block = blocks + b * groups * kBlockRows * kGroup;
    const float* bound = bounds + b * 3 * kBlockRows;
    std::size_t q = 0;
    for (; q + kManyQueries <= n_queries; q += kManyQueries)  // they and their sums fit sixteen registers
      scan_block<kManyQueries>(block, bound, groups, packed + q, n_queries, queries + q, masks + q, b);
    for (; q < n_queries; ++q)
      scan_block_finely(block, bound, groups, packed + q, n_queries, queries[q], masks + q, b);
  }
}

// Bits are counted by looking up half bytes (Muła, "SSSE3: fast popcount").
inline __m256i count_bits(__m256i x) {
  const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,  //
                                         0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
  const __m256i half = _mm256_set1_epi8(0x0f);
  const __m256i low = _mm256_shuffle_epi8(table, _mm256_and_si256(x, half));
  const __m256i high = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(x, 4), half));
  return _mm256_add_epi8(low, high);
}

void hamming(const std::uint64_t* blocks, std::size_t count, std::size_t words,
             const std::uint64_t* const* queries, const std::uint32_t* thresholds,
             std::size_t n_queries, std::uint64_t masks[kTileQueries],
             std::uint32_t distances[kTileQueries][kHammingBlocks * kHammingRows]) {
  const __m256i zero = _mm256_setzero_si256();
  for (std::size_t q = 0; q < n_queries; ++q) {
    masks[q] = 0;
    const __m256i threshold = _mm256_set1_epi64x(thresholds[q]);
    for (std::size_t b = 0; b < count; ++b) {
      const std::uint64_t* block = blocks + b * words * kHammingRows;
      __m256i sums[2] = {zero, zero};
      for (std::size_t start = 0; start < words; start += 31) {  // 31 words: bytes stay below 256
        const std::size_t end = words - start < 31 ? words : start + 31;
        __m256i bytes[2] = {zero, zero};
        for (std::size_t w = start; w < end; ++w) {
          const __m256i* rows = reinterpret_cast<const __m256i*>(block + w * kHammingRows);
          const __m256i query = _mm256_set1_epi64x(static_cast<long long>(queries[q][w]));
          for (int half = 0; half < 2; ++half) {
            const __m256i differing = _mm256_xor_si256(_mm256_loadu_si256(rows + half), query);
            bytes[half] = _mm256_add_epi8(bytes[half], count_bits(differing));
          }
        }
        for (int half = 0; half < 2; ++half)
          sums[half] = _mm256_add_epi64(sums[half], _mm256_sad_epu8(bytes[half], zero));
      }
      std::uint64_t mask = 0;
      for (int half = 0; half < 2; ++half) {
        const __m256i nearer = _mm256_cmpgt_epi64(threshold, sums[half]);
        mask |= static_cast<std::uint64_t>(_mm256_movemask_pd(_mm256_castsi256_pd(nearer)))
                << (4 * half);
      }
      if (mask == 0) continue;
      masks[q] |= mask << (b * kHammingRows);
      std::uint64_t wide[kHammingRows];
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(wide), sums[0]);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(wide + 4), sums[1]);
      for (std::size_t r = 0; r < kHammingRows; ++r)
        distances[q][b * kHammingRows + r] = static_cast<std::uint32_t>(wide[r]);
    }
  }
}

std::int32_t int8_dot(const std::int8_t* left, const std::int8_t* right, std::size_t d,
                      std::int32_t) {
  __m256i sum = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + 32 <= d; i += 32) {
    const __m256i x = load(left + i);
    sum = add_products(sum, _mm256_abs_epi8(x), x, load(right + i));
  }
  std::int32_t lanes[8];
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes), sum);
  std::int32_t total = 0;
  for (const std::int32_t lane : lanes) total += lane;
  for (; i < d; ++i) total += left[i] * right[i];
  return total;
}

// Signs are moved from the query to the rows: its magnitudes serve all of them, whose sums are folded together.
void int8_dots(const std::int8_t* const rows[kDots], const std::int8_t* query, std::size_t d,
               std::int32_t, std::int32_t dots[kDots]) {
  static_assert(kDots == 4);
  __m256i sum0 = _mm256_setzero_si256(), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  std::size_t i = 0;
  for (; i + 32 <= d; i += 32) {
    const __m256i codes = load(query + i), magnitude = _mm256_abs_epi8(codes);
    sum0 = add_products(sum0, magnitude, codes, load(rows[0] + i));
    sum1 = add_products(sum1, magnitude, codes, load(rows[1] + i));
    sum2 = add_products(sum2, magnitude, codes, load(rows[2] + i));
    sum3 = add_products(sum3, magnitude, codes, load(rows[3] + i));
  }
  const __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(sum0, sum1), _mm256_hadd_epi32(sum2, sum3));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(dots),
                   _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1)));
  for (; i < d; ++i)
    for (std::size_t row = 0; row < kDots; ++row) dots[row] += rows[row][i] * query[i];
}

// Eight rows.
inline std::uint32_t pass(const std::int32_t* dots, const float* scales, const float* residuals,
                          const SieveQuery& query) {
  const __m256i dot = load(dots);
  const __m256 scale = _mm256_loadu_ps(scales);
  const __m256 bound = _mm256_fmadd_ps(_mm256_loadu_ps(residuals), _mm256_set1_ps(query.residual_factor),
                                       _mm256_mul_ps(_mm256_cvtepi32_ps(dot), scale));
  // Compared so that what is not a number is not out.
  const __m256 sound = _mm256_and_ps(_mm256_cmp_ps(scale, _mm256_setzero_ps(), _CMP_GT_OQ),
                                     _mm256_cmp_ps(bound, _mm256_set1_ps(query.least), _CMP_GT_OQ));
  const __m256 out = _mm256_and_ps(sound, _mm256_cmp_ps(bound, _mm256_set1_ps(query.threshold), _CMP_LT_OQ));
  const __m256 none = _mm256_castsi256_ps(_mm256_cmpeq_epi32(dot, _mm256_setzero_si256()));
  return static_cast<std::uint32_t>(_mm256_movemask_ps(_mm256_andnot_ps(none, out))) ^ 0xff;
}

void sieve(const std::int8_t* rows, const float* scale, const float* residual, std::size_t count, std::size_t d,
           const SieveQuery* queries, std::size_t n_queries, std::uint64_t masks[kTileQueries]) {
  const auto reach_16 = [](const std::int32_t* dots, const float* scales, const float* residuals, std::size_t n,
                           const SieveQuery& query) {
    if (n < kBlockRows) return rows_that_pass(dots, scales, residuals, n, query);
    return pass(dots, scales, residuals, query) | pass(dots + 8, scales + 8, residuals + 8, query) << 8;
  };
  sieve_rows(rows, scale, residual, count, d, queries, n_queries, masks, dots_by_query<int8_dots>, reach_16);
}

std::size_t sift(const std::uint64_t* sketches, const std::uint32_t* rows, std::size_t count,
                 const SketchQuery& query, std::uint32_t* passed, float* estimates) {
  return sift_rows(sketches, rows, count, query, passed, estimates,
                   [](std::uint64_t x) { return __builtin_popcountll(x); });
}

template <bool kSquares>
void sum_lanes(const float* row, const double* query, std::size_t d, double* row_query, double* row_row) {
  __m256d products[4];
  __m256d squares[4];
  for (int j = 0; j < 4; ++j) products[j] = squares[j] = _mm256_setzero_pd();
  std::size_t i = 0;
  for (; i + 16 <= d; i += 16) {
    for (int j = 0; j < 4; ++j) {
      const __m256d x = _mm256_cvtps_pd(_mm_loadu_ps(row + i + 4 * j));
      const __m256d y = _mm256_loadu_pd(query + i + 4 * j);
      products[j] = _mm256_fmadd_pd(x, y, products[j]);
      if (kSquares) squares[j] = _mm256_fmadd_pd(x, x, squares[j]);
    }
  }
  double lanes[16];
  double own[16];
  for (int j = 0; j < 4; ++j) {
    _mm256_storeu_pd(lanes + 4 * j, products[j]);
    if (kSquares) _mm256_storeu_pd(own + 4 * j, squares[j]);
  }
  add_to_lanes<kSquares>(row, query, i, d, lanes, own);
  *row_query = fold_lanes(lanes);
  if (kSquares) *row_row = fold_lanes(own);
}

void lane_dots(const float* row, const double* query, std::size_t d, double* row_query,
               double* row_row) {
  (row_row ? sum_lanes<true> : sum_lanes<false>)(row, query, d, row_query, row_row);
}

// The row is made float64 once for two queries: they and their sums fit sixteen registers.
void lane_products(const float* row, const double* queries, std::size_t d, double products[kDots]) {
  static_assert(kDots % 2 == 0);
  for (std::size_t first = 0; first < kDots; first += 2) {
    __m256d sums[2][4];
    for (auto& of : sums)
      for (auto& sum : of) sum = _mm256_setzero_pd();
    const double *query = queries + first * d, *next = query + d;
    std::size_t i = 0;
    for (; i + 16 <= d; i += 16) {
      for (std::size_t j = 0; j < 4; ++j) {
        const __m256d x = _mm256_cvtps_pd(_mm_loadu_ps(row + i + 4 * j));
        sums[0][j] = _mm256_fmadd_pd(x, _mm256_loadu_pd(query + i + 4 * j), sums[0][j]);
        sums[1][j] = _mm256_fmadd_pd(x, _mm256_loadu_pd(next + i + 4 * j), sums[1][j]);
      }
    }
    for (std::size_t q = 0; q < 2; ++q) {
      double lanes[16];
      for (std::size_t j = 0; j < 4; ++j) _mm256_storeu_pd(lanes + 4 * j, sums[q][j]);
      add_to_lanes<false>(row, query + q * d, i, d, lanes, nullptr);
      products[first + q] = fold_lanes(lanes);
    }
  }
}

const Path kPath = {"avx2", kMostCode, 2, scan, hamming, int8_dot, int8_dots, sieve, sift, lane_dots, lane_products};

}  // namespace

const Path* avx2_path() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &kPath : nullptr;
}

}  // namespace qsearch

#else

namespace qsearch {
const Path* avx2_path() { return nullptr; }
}  // namespace qsearch

#endif
