// One instruction set's inner loops, as a table of functions. Every path gives the same integers, and
// the same float64 sums bit for bit; only the speed differs.
//
// The files that fill a table (portable, avx2, avx512, neon) are each compiled for one instruction
// set. They must not use anything that has external inline definitions (the standard library's
// templates above all): the linker keeps one copy of those, and it might be the one that this
// processor cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qsearch {

constexpr std::size_t kBlockRows = 16;      // rows in a block of rotated codes
constexpr std::size_t kGroup = 4;           // components that lie together in such a block
constexpr std::size_t kTileBlocks = 4;      // blocks that one call of scan looks at
constexpr std::size_t kSieveRows = kTileBlocks * kBlockRows;  // rows that one call of sieve looks at
constexpr std::size_t kTileQueries = 6;     // queries that one call of scan or hamming serves
constexpr std::size_t kManyQueries = 3;     // from here on computing takes longer than reading the rows
constexpr std::size_t kDots = 4;            // products that one call of int8_dots or lane_products makes
constexpr std::size_t kHammingRows = 8;     // rows in a block of transposed sign bits
constexpr std::size_t kHammingBlocks = 8;   // blocks that one call of hamming looks at
constexpr std::size_t kSketchWords = 8;     // words in a line of a sketch
constexpr std::size_t kSketchPlanes = 5;    // bits of a query's components that sketches are held against

// What a scan needs to know of one query. A row is certainly not among the best where
//   -infinity < dot * scale[row] + residual_factor * residual[row] + rest_factor * rest[row] < threshold.
// All others pass: a damaged row, whose bound is not a number or minus infinity, must not hide.
struct ScanQuery {
  std::int32_t bias;        // 128 * sum of the query's codes: the rows are stored with 128 added
  float residual_factor;
  float rest_factor;
  float threshold;
};

// What a sieve needs to know of one query. A row is certainly not among the best where its scale is positive, its
// dot is not 0 and
//   least < dot * scale[row] + residual_factor * residual[row] < threshold.
// All others pass: damage must not hide a row.
struct SieveQuery {
  const std::int8_t* codes;
  std::int32_t sum;         // of the codes
  float residual_factor;
  float threshold;
  float least;              // a bound that is not above it may be a damaged row's
};

// What the sketches of rows are held against. The query's components are whole numbers from -15 to 15; plane j holds
// their bit j, and the last one counts -16.
struct SketchQuery {
  const std::uint64_t* planes;  // (lines, kSketchPlanes, kSketchWords)
  std::size_t lines;
  std::int32_t total;           // sum of the components
  float least;                  // what an estimate must reach
};

struct Path {
  const char* name;

  // What `scan` takes as codes of kManyQueries queries or more: none beyond it. Smaller codes are coarser, so
  // more rows pass, but where instructions add up products in few bits they are added up in fewer steps.
  // Fewer queries wait for memory: any codes within ±127.
  std::int32_t most_code;

  // Where one row of so many passes a scan, or more, `sieve` takes less time for all of them than `int8_dots` for
  // those that pass.
  std::size_t sieve_share;

  // Rotated codes. `blocks` points at `count` (at most kTileBlocks) blocks of (groups, 16, 4) uint8,
  // `bounds` at (count, 3, 16) float: scale, residual, rest. `packed` holds (groups, queries) times
  // four int8 codes in one int32.
  // Bit 16 b + r of masks[q] is set where row r of block b passes, see ScanQuery.
  void (*scan)(const std::uint8_t* blocks, const float* bounds, std::size_t count,
               std::size_t groups, const std::int32_t* packed, const ScanQuery* queries,
               std::size_t n_queries, std::uint64_t masks[kTileQueries]);

  // Hamming distances of `count` (at most kHammingBlocks) blocks of eight rows to up to kTileQueries
  // queries; `words` is the number per row. Bit 8 b + r of masks[q] is set where row r of block b is
  // nearer than thresholds[q]; distances[q][8 b + r] only where block b has any such row.
  void (*hamming)(const std::uint64_t* blocks, std::size_t count, std::size_t words,
                  const std::uint64_t* const* queries, const std::uint32_t* thresholds,
                  std::size_t n_queries, std::uint64_t masks[kTileQueries],
                  std::uint32_t distances[kTileQueries][kHammingBlocks * kHammingRows]);

  // `sum` is that of the components of right, for paths that need it.
  std::int32_t (*int8_dot)(const std::int8_t* left, const std::int8_t* right, std::size_t d,
                           std::int32_t sum);

  // The same of kDots rows against one query.
  void (*int8_dots)(const std::int8_t* const rows[kDots], const std::int8_t* query, std::size_t d,
                    std::int32_t sum, std::int32_t dots[kDots]);

  // `count` rows of int8 codes, at most kSieveRows, one behind the other, against at most kTileQueries queries: bit r
  // of masks[q] is set where row r passes, see SieveQuery.
  void (*sieve)(const std::int8_t* rows, const float* scale, const float* residual, std::size_t count,
                std::size_t d, const SieveQuery* queries, std::size_t n_queries,
                std::uint64_t masks[kTileQueries]);

  // Estimates of some rows by their sketches, (n, lines, kSketchWords): the upper half of the last word is a factor,
  // the other bits are signs. An estimate is factor * (2 * sum of the query's components where the sign is
  // positive - total). Passes on those of at least `least`, and returns how many.
  std::size_t (*sift)(const std::uint64_t* sketches, const std::uint32_t* rows, std::size_t count,
                      const SketchQuery& query, std::uint32_t* passed, float* estimates);

  // Sums of products in the order of kernels/reference.py: component i goes to lane i mod 16. The query's
  // components are float32 numbers, so that no product is rounded. Where `row_row` is null, the row's own
  // squares are not wanted.
  void (*lane_dots)(const float* row, const double* query, std::size_t d, double* row_query,
                    double* row_row);

  // The sums of one row with kDots queries, one behind the other.
  void (*lane_products)(const float* row, const double* queries, std::size_t d, double products[kDots]);
};

const Path* portable_path();
const Path* avx2_path();     // null where it was not compiled or this processor lacks it
const Path* avx512_path();
const Path* neon_path();
const Path* neon_dot_path();

}  // namespace qsearch
