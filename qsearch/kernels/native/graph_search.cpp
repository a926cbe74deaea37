// Searches by graph: a beam in every segment, then the floats of the best.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

#include "clock.hpp"
#include "graph.hpp"
#include "pool.hpp"
#include "rescoring.hpp"
#include "selection.hpp"

namespace qsearch {
namespace {

// A wider beam takes longer to keep in order than a scan of a million rows does; and one of an eighth of the rows
// meets nearly all.
constexpr std::size_t kWidest = 8192, kShare = 8;
constexpr std::size_t kFewer = 8;       // an eighth fewer allowed rows than wanted are enough: walks are not made twice
constexpr std::size_t kLook = 1 << 14;  // rows between two looks at whether a scan is still wanted

// A row that a beam ended with.
struct Candidate {
  float score;  // by int8 codes
  std::uint32_t row;
  std::uint32_t segment;
};

bool better(const Candidate& a, const Candidate& b) { return a.score > b.score; }

// The same, equal ones by row.
bool ahead(const Candidate& a, const Candidate& b) {
  return a.score > b.score || (a.score == b.score && a.row < b.row);
}

// A score that is no number: the floats decide.
float sound(float score) { return std::isnan(score) ? -kNone : score; }

bool allows(const Mask& mask, std::size_t row) { return !mask.bits || (mask.bits[row / 8] >> row % 8 & 1); }

// Kept from call to call: it has a bit for every row of the largest segment.
thread_local Beam kept_beam;

class Searcher {
 public:
  Searcher(const Path& path, const std::vector<GraphSegment>& segments, std::size_t width, Watch* watch)
      : path_(path), segments_(segments), width_(width), watch_(watch), beam_(kept_beam) {}

  std::int64_t sketched = 0, refined = 0;
  double end = kNone;  // the highest score that a beam ended at

  // Of every segment its best allowed rows, as many as the beam is wide, or an eighth fewer, or as are allowed, and
  // `least` of these at least: segment after segment.
  void find(const std::int8_t* query, std::size_t least, std::vector<Candidate>& found) {
    found.clear();
    sketched = refined = 0;
    end = kNone;
    for (std::size_t number = 0; number < segments_.size(); ++number) {
      const std::size_t wanted = std::min(width_, segments_[number].mask.allowed);
      if (wanted) find(segments_[number], static_cast<std::uint32_t>(number), wanted, least, query, found);
    }
  }

 private:
  // In one segment. A walk knows nothing of masks: it is made wide enough for so many allowed rows on average, and
  // where too few of those it ends among are allowed, as where a whole topic was deleted, wider. Where links lead to no
  // more rows (many equal ones can cut a graph into parts) all rows are looked at.
  void find(const GraphSegment& segment, std::uint32_t number, std::size_t wanted, std::size_t least,
            const std::int8_t* query, std::vector<Candidate>& found) {
    const std::size_t first = found.size(), n = segment.rows.n, allowed = segment.mask.allowed;
    const std::size_t enough = std::max(std::min(least, wanted), wanted - wanted / kFewer);
    for (std::size_t width = (wanted * n + allowed - 1) / allowed; width <= std::min(n / kShare, kWidest); width *= 2) {
      const auto& best = beam_.search(path_, segment.rows, segment.links, *segment.starts, query, width);
      sketched += static_cast<std::int64_t>(beam_.sketched());
      refined += static_cast<std::int64_t>(beam_.refined());
      found.resize(first);
      for (const Found& one : best)
        if (found.size() - first < wanted && allows(segment.mask, one.row()))
          found.push_back({sound(one.score()), one.row(), number});
      if (found.size() - first >= enough) {
        end = std::max(end, static_cast<double>(sound(best.back().score())));
        return;
      }
      if (best.size() < width) break;
    }
    found.resize(first);
    scan(segment, number, wanted, query, found);
  }

  // A row by its int8 code.
  Candidate scored(const GraphSegment& segment, std::uint32_t number, std::size_t row, const std::int8_t* query,
                   std::int32_t sum) {
    const GraphRows& rows = segment.rows;
    const float dot = static_cast<float>(path_.int8_dot(rows.int8 + row * rows.d, query, rows.d, sum));
    ++refined;
    return {sound(rows.scale[row] * dot), static_cast<std::uint32_t>(row), number};
  }

  // All allowed rows instead of a walk: the best of them.
  void scan(const GraphSegment& segment, std::uint32_t number, std::size_t wanted, const std::int8_t* query,
            std::vector<Candidate>& found) {
    const std::size_t first = found.size();
    const std::int32_t sum = std::accumulate(query, query + segment.rows.d, std::int32_t{0});
    const auto begin = [&] { return found.begin() + static_cast<std::ptrdiff_t>(first); };
    const auto keep = [&] {
      if (found.size() - first <= wanted) return;
      std::nth_element(begin(), begin() + static_cast<std::ptrdiff_t>(wanted), found.end(), ahead);
      found.resize(first + wanted);
    };
    for (std::size_t row = 0; row < segment.rows.n; ++row) {
      if (row % kLook == 0 && stop(watch_)) return;
      if (!allows(segment.mask, row)) continue;
      found.push_back(scored(segment, number, row, query, sum));
      if (found.size() - first == 2 * wanted + kLook) keep();
    }
    keep();
    std::sort(begin(), found.end(), ahead);
  }

  const Path& path_;
  const std::vector<GraphSegment>& segments_;
  std::size_t width_;
  Watch* watch_;
  Beam& beam_;
};

// Best first; equal ones as they stand, segment after segment.
void order(std::vector<Candidate>& found) {
  if (!std::is_sorted(found.begin(), found.end(), better)) std::stable_sort(found.begin(), found.end(), better);
}

// The middle one of the `depth` best scores, or the last that there is.
double height(const std::vector<Candidate>& found, std::size_t depth) {
  return found.empty() ? kNone : found[std::min((depth + 1) / 2, found.size()) - 1].score;
}

// How many of the best, in order, the floats decide between.
std::size_t keep(const std::vector<Candidate>& found, const GraphAsked& asked, float blur) {
  std::size_t kept = std::min(asked.kept, found.size());
  if (!kept) return 0;
  const float least = found[std::min(asked.k, kept) - 1].score - blur;
  while (kept < found.size() && found[kept].score >= least) ++kept;
  return kept;
}

}  // namespace

std::int64_t graph_top_k(const Path& path, const std::vector<GraphSegment>& segments, const GraphQueries& queries,
                         const GraphAsked& asked, float* scores, std::int64_t* positions, const GraphShown& shown,
                         const GraphLooked& looked, std::int64_t* spent, std::size_t threads, Watch* watch) {
  const std::size_t d = segments[0].rows.d;
  const std::size_t parts = std::max<std::size_t>(1, std::min(threads, queries.count));
  const auto begun = Clock::now();
  std::atomic<std::int64_t> damaged{-1}, walking{0}, scoring{0};
  std::atomic<std::size_t> next{0};
  in_parallel(parts, [&](std::size_t) {
    Searcher searcher(path, segments, asked.width, watch);
    Rescorer rescorer;
    std::vector<Candidate> found;
    for (std::size_t q; !stop(watch) && (q = next.fetch_add(1)) < queries.count;) {
      const auto started = Clock::now();
      searcher.find(queries.codes + q * d, asked.k, found);
      order(found);
      for (std::size_t i = 0; i < asked.depths.size(); ++i)
        shown.heights[q * asked.depths.size() + i] = height(found, asked.depths[i]);
      shown.ends[q] = searcher.end;
      looked.sketched[q] = searcher.sketched;
      looked.refined[q] = searcher.refined;
      const std::size_t kept = keep(found, asked, queries.blurs[q]);
      looked.scored[q] = static_cast<std::int64_t>(kept);
      const auto walked = Clock::now();
      const auto row = [&](std::size_t i) {
        const GraphSegment& segment = segments[found[i].segment];
        return Rescored{segment.vectors + std::size_t{found[i].row} * d, segment.first_row + found[i].row};
      };
      rescorer.rescore(path, queries.vectors + q * d, d, kept, asked.k, row, scores + q * asked.k,
                       positions + q * asked.k);
      walking += nanoseconds(walked - started);
      scoring += nanoseconds(Clock::now() - walked);
    }
    if (rescorer.damaged() >= 0) damaged = rescorer.damaged();
  }, watch);
  // Threads worked side by side: both have their share of what the clock says.
  const double all = static_cast<double>(walking + scoring);
  const double once = static_cast<double>(nanoseconds(Clock::now() - begun));
  spent[0] = all > 0 ? static_cast<std::int64_t>(once * (static_cast<double>(walking) / all)) : 0;
  spent[1] = all > 0 ? static_cast<std::int64_t>(once * (static_cast<double>(scoring) / all)) : 0;
  return damaged;
}

void graph_found(const Path& path, const std::vector<GraphSegment>& segments, const std::int8_t* codes,
                 std::size_t n_queries, std::size_t width, std::int64_t* positions, float* scores, double* ends,
                 std::size_t threads, Watch* watch) {
  const std::size_t d = segments[0].rows.d, places = segments.size() * width;
  const std::size_t parts = std::max<std::size_t>(1, std::min(threads, n_queries));
  std::atomic<std::size_t> next{0};
  in_parallel(parts, [&](std::size_t) {
    Searcher searcher(path, segments, width, watch);
    std::vector<Candidate> found;
    for (std::size_t q; !stop(watch) && (q = next.fetch_add(1)) < n_queries;) {
      searcher.find(codes + q * d, 0, found);
      ends[q] = searcher.end;
      for (std::size_t i = 0; i < places; ++i) {
        const bool there = i < found.size();
        positions[q * places + i] = there ? segments[found[i].segment].first_row + found[i].row : -1;
        scores[q * places + i] = there ? found[i].score : kNone;
      }
    }
  }, watch);
}

}  // namespace qsearch
