// A graph over the rows of a segment: links from each to some that are near it, and a beam search along them.
// kernels/graph_reference.py defines both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "paths.hpp"
#include "search.hpp"
#include "watch.hpp"

namespace qsearch {

constexpr std::uint32_t kNoRow = 0xffffffffu;
constexpr std::size_t kMostStarts = 256;

// What a beam search reads.
struct GraphRows {
  std::size_t n, d;
  const std::int8_t* int8;        // (n, d)
  const float* scale;             // (n)
  const std::uint64_t* sketches;  // (n, lines, kSketchWords)
  std::size_t lines;
  const float* center;            // (d)
};

// (n, degree): the rows that each leads to, up to the first that there is not.
struct Links {
  const std::uint32_t* of;
  std::size_t degree;
};

// Where every search starts: rows that are evenly spread.
std::vector<std::uint32_t> start_rows(std::size_t n);

// A row that was found. `key` orders by score by int8 codes, the best highest, equal ones the lower row first.
struct Found {
  std::uint64_t key;

  float score() const;
  std::uint32_t row() const { return ~static_cast<std::uint32_t>(key); }
};

// Searches for one query after the other. Memory for the largest segment so far is kept.
class Beam {
 public:
  // The best of the rows that are met by going on from each of the best `width`, best first, from these starts.
  const std::vector<Found>& search(const Path& path, const GraphRows& rows, const Links& links,
                                   const std::vector<std::uint32_t>& starts, const std::int8_t* query,
                                   std::size_t width);

  std::size_t sketched() const { return n_met_; }   // rows whose sketch it read
  std::size_t refined() const { return refined_; }  // rows whose int8 code it read

 private:
  void prepare();
  void meet(const std::uint32_t* rows, std::size_t count);
  void absorb();
  std::size_t next();
  std::size_t place(std::uint64_t key) const;
  void move(std::size_t from, std::size_t to, std::uint64_t key, std::uint8_t done);
  void fetch(std::uint32_t row) const;

  const Path* path_ = nullptr;
  GraphRows rows_{};
  Links links_{};
  const std::int8_t* query_ = nullptr;
  std::int32_t sum_ = 0;             // of the query's codes
  std::size_t width_ = 0;
  std::vector<std::uint64_t> seen_;  // a bit for every row: those of all_, and no others
  std::vector<std::uint32_t> all_;   // rows that were met, and room
  std::size_t n_met_ = 0, absorbed_ = 0;
  std::vector<std::uint32_t> passed_;
  std::vector<float> estimates_;
  std::vector<std::uint64_t> planes_;
  std::vector<double> wide_;
  SketchQuery sketch_{};
  float unit_ = 0.0f, around_ = 0.0f;
  std::vector<std::uint64_t> keys_;  // the beam, the best first
  std::vector<std::uint8_t> done_;   // what was done with each
  std::size_t count_ = 0, cursor_ = 0, refined_ = 0;
  std::vector<Found> found_;
};

// Links between all rows, made by adding some at a time, each where a search among those before it ends. The same
// ones on every path, with any number of threads.
class GraphBuilder {
 public:
  GraphBuilder(const Path& path, const GraphRows& rows, std::size_t degree, std::size_t width, std::size_t threads);

  // Adds some rows, and returns how many; 0: all are there.
  std::size_t step(Watch* watch = nullptr);

  // (n, degree), once all are there.
  void finish(std::uint32_t* links, Watch* watch = nullptr);

 private:
  struct Near {
    float score;
    std::uint32_t row;
  };
  using Edge = std::pair<std::uint32_t, std::uint32_t>;

  float between(std::uint32_t a, std::uint32_t b) const;
  std::size_t count(std::uint32_t row) const;
  void gather(std::uint32_t row, std::size_t have, std::vector<Near>& near) const;
  bool same(std::uint32_t a, std::uint32_t b) const;
  void prune(std::uint32_t row, std::vector<Near>& near, std::vector<Near>& kept) const;
  void lead_on(std::size_t first, std::size_t last, std::vector<std::vector<Edge>>& back, Watch* watch);
  void lead_back(std::vector<Edge>& edges, Watch* watch);

  const Path& path_;
  GraphRows rows_;
  std::size_t degree_, width_, threads_, room_, done_ = 0;
  std::vector<std::uint32_t> starts_, order_;
  // (n, room), aligned as cache lines are.
  std::unique_ptr<std::uint32_t[], void (*)(void*)> links_;
  std::vector<std::int32_t> sums_;
};

// A segment as a search by graph sees it.
struct GraphSegment {
  GraphRows rows;
  Links links;
  const std::vector<std::uint32_t>* starts;
  const float* vectors;  // (n, d)
  std::int64_t first_row;
  Mask mask;
};

// `count` queries: as they came, their codes, and by how much scores must differ to tell which row is nearer.
struct GraphQueries {
  std::size_t count;
  const float* vectors;       // (count, d)
  const std::int8_t* codes;   // (count, d)
  const float* blurs;         // (count,)
};

struct GraphAsked {
  std::size_t k;
  std::size_t width;                // of the beam in each segment
  std::size_t kept;                 // of what the beams hold, by int8 codes; and all within a blur of the k-th
  std::vector<std::size_t> depths;  // of the heights that are wanted
};

// What a search by graph looked at, for each query.
struct GraphLooked {
  std::int64_t *sketched, *refined, *scored;
};

// What a search by graph says of itself, for each query.
struct GraphShown {
  double* heights;  // (queries, depths): the middle one of so many of the best scores by int8 codes
  double* ends;     // the highest score that a beam ended at; -infinity where every row was scored
};

// The k best of what the beams end with, ties by position; behind the last -infinity and -1. `spent` is two numbers of
// nanoseconds, of the beams and of scoring, by the clock. There is an allowed row. Returns the position of a row that
// is not finite, or -1.
std::int64_t graph_top_k(const Path& path, const std::vector<GraphSegment>& segments, const GraphQueries& queries,
                         const GraphAsked& asked, float* scores, std::int64_t* positions, const GraphShown& shown,
                         const GraphLooked& looked, std::int64_t* spent, std::size_t threads, Watch* watch = nullptr);

// What the beams end with, for measuring: (queries, segments * width) positions and scores by int8 codes, segment after
// segment, best first; -1 and -infinity behind the last. `ends` as in GraphShown.
void graph_found(const Path& path, const std::vector<GraphSegment>& segments, const std::int8_t* codes,
                 std::size_t n_queries, std::size_t width, std::int64_t* positions, float* scores, double* ends,
                 std::size_t threads, Watch* watch = nullptr);

}  // namespace qsearch
