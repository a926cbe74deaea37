// What the kernels do with a segment: select, refine, rescore. No files, no Python, and no memory
// that grows with the rows beyond what is returned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "paths.hpp"
#include "watch.hpp"

namespace qsearch {

// Which rows of a segment are allowed: row r where bit r % 8 of byte r / 8 is set. Without bits all are.
// There are bytes for whole blocks of sixteen rows, and no bit is set behind the last row.
struct Mask {
  const std::uint8_t* bits;
  std::size_t allowed;  // how many

  // Those of a few bytes, at most eight.
  std::uint64_t bytes(std::size_t first, std::size_t count) const {
    std::uint64_t word = 0;
    if (count == sizeof word)
      std::memcpy(&word, bits + first, sizeof word);  // no call
    else
      std::memcpy(&word, bits + first, count);
    return word;  // little-endian, as every processor here is
  }

  std::size_t count(std::size_t first, std::size_t last) const {
    std::size_t found = 0;
    for (; first + 8 <= last; first += 8)
      found += static_cast<std::size_t>(__builtin_popcountll(bytes(first, 8)));
    if (first < last)
      found += static_cast<std::size_t>(__builtin_popcountll(bytes(first, last - first)));
    return found;
  }
};

// The arrays of a segment, as docs/format.md describes them.
struct Rows {
  std::size_t n, d, head;         // rows, components, components of a rotated code
  const std::uint8_t* rotated;    // (blocks, head / 4, 16, 4), codes + 128
  const float* bounds;            // (blocks, 3, 16): scale, residual, rest
  const std::int8_t* int8;        // (n, d)
  const float* scale;             // (n)
  const float* residual;          // (n)
  const float* vectors;           // (n, d)
  std::int64_t first_row;
  std::size_t before;             // allowed rows of the segments before this one
  Mask mask;                      // of this one
};

// A bound on a cosine from a code of the query: factor * dot * scale[row]
// + residual_factor * residual[row] + rest_factor * rest[row] + slack.
struct Interval {
  double factor, residual_factor, rest_factor, slack;
};

// What the rounding of codes may hide: kernels/reference.py says how it is used, codes/bounds.py why it is enough.
struct Margins {
  double growth, roundoffs, added, times, constant, hidden, outward;
};

// Of a code: its factor, the sum of its squares, and that of the squares of what it loses.
struct CodeSums {
  double factor, squared, lost;
};

// The axes that rotated codes are along.
struct Rotation {
  const float* axes;  // (h, d)
  std::size_t h;
  Margins margins;    // of the codes of queries
};

struct Queries {
  std::size_t count;
  const float* vectors;           // (count, d), as they came
  const std::int8_t* head_codes;  // (count, head)
  const Interval* head_intervals;
  const std::int8_t* codes;       // (count, d)
  const Interval* intervals;      // the rest factor is not used
};

struct Counts {
  std::int64_t reached;   // rows whose bound from the rotated code reached the best k
  std::int64_t rescored;  // rows whose bound from the int8 code did too, and were scored exactly
  std::int64_t scanning, refining, scoring;  // nanoseconds, of all threads; a batch shares its time out

  void add(const Counts& other) {
    reached += other.reached;
    rescored += other.rescored;
    scanning += other.scanning;
    refining += other.refining;
    scoring += other.scoring;
  }
};

// Bring the best k of every query up to date with the rows of a segment: exactly the k documents of
// highest score, ties by position, among those given and the allowed rows of the segment. There are (count, k)
// places, of which the first `filled` are in use; on return they are sorted. Returns false if a row is
// not finite, or codes contradict the rows. All of these may be stopped by `watch`.
bool certified_top_k(const Path& path, const Rows& rows, const Queries& queries, std::size_t k,
                     std::size_t filled, float* scores, std::int64_t* positions, Counts* counts,
                     std::size_t threads, Watch* watch = nullptr);

// No code of so many queries together is beyond it, see Path.
inline std::int32_t most_code(const Path& path, std::size_t queries) {
  return queries < kManyQueries ? 127 : path.most_code;
}

// What a search by codes goes through.
struct CodedSegment {
  Rows rows;
  std::size_t rotation;  // number
};

// What a search of several segments looked at, for each query: rows and bytes of int8 codes, and of floats.
struct Looked {
  std::int64_t *reached, *reached_bytes, *rescored, *rescored_bytes;
};

// The same for segment after segment, from the queries as they came: (count, d), none of them zero. `before` rows
// were allowed in segments that were searched before, and their best are in the places. `looked` and `spent`,
// nanoseconds of preparing, scanning, refining and scoring, are added to. Returns the number of the first
// segment that is damaged, or -1.
std::ptrdiff_t search_segments(const Path& path, std::vector<CodedSegment>& segments,
                               const std::vector<Rotation>& rotations, const Margins& margins,
                               const float* queries, std::size_t count, std::size_t k, std::size_t before,
                               float* scores, std::int64_t* positions, const Looked& looked, std::int64_t* spent,
                               std::size_t threads, Watch* watch = nullptr);

// The `count` allowed rows of smallest Hamming distance for each query, in order of (distance, row); at
// most as many as are allowed.
void hamming_nearest(const Path& path, const std::uint64_t* blocks, std::size_t n,
                     std::size_t words, const Mask& mask, const std::uint64_t* queries,
                     std::size_t n_queries, std::size_t count, std::int64_t* result,
                     std::size_t threads, Watch* watch = nullptr);

// scale[row] * (code of the row . code of the query) for chosen rows; -1 gives minus infinity.
void int8_gather(const Path& path, const std::int8_t* codes, const float* scale, std::size_t d,
                 const std::int8_t* queries, std::size_t n_queries, const std::int64_t* indices,
                 std::size_t width, float* result, std::size_t threads, Watch* watch = nullptr);

// A segment as a cascade sees it.
struct CascadeRows {
  std::size_t n;
  const std::uint64_t* binary;    // (blocks of eight, words, 8)
  const std::int8_t* int8;        // (n, d)
  const float* scale;             // (n)
  const float* vectors;           // (n, d)
  std::int64_t first_row;
  Mask mask;
};

struct CascadeQueries {
  std::size_t count, d, n_words;
  const float* vectors;           // (count, d), as they came
  const std::uint64_t* words;     // (count, n_words): their signs
  const std::int8_t* codes;       // (count, d)
  const float* blurs;             // (count,): scores that differ by no more do not tell which row is nearer
};

struct CascadeAsked {
  std::size_t k;
  std::size_t candidates;         // of each segment, by binary codes
  // Of all of them, by int8 codes, equal scores in the order of candidates; and all within a blur of the k-th.
  std::size_t kept;
  std::vector<std::size_t> depths;  // of the leads that are wanted
};

// The k best of what the codes choose, ties by position; behind the last -infinity and -1. `leads` is
// (queries, depths), see retrieval/lead.py; `scored` says how many were kept of each query; `spent` is three
// numbers of nanoseconds, of the three stages. There is an allowed row. Returns the position of a row that is
// not finite, or -1.
std::int64_t cascade_top_k(const Path& path, const std::vector<CascadeRows>& segments,
                           const CascadeQueries& queries, const CascadeAsked& asked, float* scores,
                           std::int64_t* positions, double* leads, std::int64_t* scored, std::int64_t* spent,
                           std::size_t threads, Watch* watch = nullptr);

// The first row whose squared length is zero or not finite; n where all can be divided by theirs.
std::size_t first_unusable(const Path& path, const float* rows, std::size_t n, std::size_t d);

// Rows divided by their lengths, in float64, and rounded once. No row is zero.
void normalize(const Path& path, const float* rows, std::size_t n, std::size_t d, float* result);

// Codes of rows, in float64: factor = max|x| / most (1 for a row of zeros), code = rint(x / factor), and what
// they say of a cosine at most.
void code_rows(const float* rows, std::size_t n, std::size_t d, double most, const Margins& margins,
               std::int8_t* codes, Interval* intervals);

// The same for the products of every row with every axis, which are float64. Behind the last axis the codes are
// 0 up to `padded`.
void code_projections(const Path& path, const float* rows, std::size_t n, std::size_t d, const Rotation& rotation,
                      std::size_t padded, double most, std::int8_t* codes, Interval* intervals,
                      std::size_t threads);

// Exact scores of chosen rows; -1 gives minus infinity.
void cosine_gather(const Path& path, const float* rows, std::size_t d, const float* queries,
                   std::size_t n_queries, const std::int64_t* indices, std::size_t width,
                   float* result, std::size_t threads, Watch* watch = nullptr);

}  // namespace qsearch
