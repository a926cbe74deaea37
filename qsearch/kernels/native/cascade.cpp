// The cascade: many candidates by binary codes, fewer by int8 codes, the answer by floats.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "clock.hpp"
#include "pool.hpp"
#include "rescoring.hpp"
#include "search.hpp"
#include "selection.hpp"

namespace qsearch {
namespace {

// A candidate of one query by its int8 score; `number` counts candidates segment after segment, each
// segment's in the order of its binary codes.
struct Scored {
  float score;
  std::uint32_t number;
};

bool ahead(const Scored& a, const Scored& b) {
  return a.score > b.score || (a.score == b.score && a.number < b.number);
}

// What the stages pass on: candidates of one segment for all queries.
struct Chosen {
  std::size_t first = 0;  // number of the first of them
  std::size_t count = 0;  // of each query
  std::vector<std::int64_t> rows;
  std::vector<float> scores;  // by int8 codes
};

// The second stage for some queries, and the third.
class Ranker {
 public:
  Ranker(const Path& path, const std::vector<CascadeRows>& segments,
         const std::vector<Chosen>& chosen, const CascadeQueries& queries, const CascadeAsked& asked,
         std::size_t width)
      : path_(path), segments_(segments), chosen_(chosen), queries_(queries), asked_(asked),
        width_(width), kept_(std::min(asked.kept, width)), scored_(width) {}

  std::int64_t damaged() const { return rescorer_.damaged(); }

  // Returns how many rows it scored.
  std::size_t rank(std::size_t q, float* scores, std::int64_t* positions, double* leads) {
    for (const Chosen& some : chosen_)
      for (std::size_t i = 0; i < some.count; ++i) {
        const std::size_t place = some.first + i;
        scored_[place].number = static_cast<std::uint32_t>(place);
        const float score = some.scores.empty() ? 0.0f : some.scores[q * some.count + i];
        scored_[place].score = std::isnan(score) ? -kNone : score;  // its floats decide
      }
    for (std::size_t i = 0; i < asked_.depths.size(); ++i)
      leads[q * asked_.depths.size() + i] = lead(asked_.depths[i]);
    const std::size_t kept = keep(queries_.blurs[q]);
    rescorer_.rescore(
        path_, queries_.vectors + q * queries_.d, queries_.d, kept, asked_.k,
        [&](std::size_t i) { return row(q, scored_[i].number); }, scores + q * asked_.k, positions + q * asked_.k);
    return kept;
  }

 private:
  // Has the `count` best stand in front.
  void front(std::size_t count) {
    if (count < width_)
      std::nth_element(scored_.begin(), scored_.begin() + static_cast<std::ptrdiff_t>(count),
                       scored_.end(), ahead);
  }

  // Has those stand in front that are kept, and returns how many.
  std::size_t keep(float blur) {
    if (kept_ == width_) return width_;
    front(kept_);
    const auto behind = scored_.begin() + static_cast<std::ptrdiff_t>(kept_);
    const auto last = scored_.begin() + static_cast<std::ptrdiff_t>(std::min(asked_.k, kept_) - 1);
    std::nth_element(scored_.begin(), last, behind, ahead);
    const float least = last->score - blur;
    const auto far = std::partition(behind, scored_.end(), [&](const Scored& one) { return one.score >= least; });
    return static_cast<std::size_t>(far - scored_.begin());
  }

  // See retrieval/lead.py.
  double lead(std::size_t depth) {
    depth = std::min(depth, width_);
    front(depth);
    double sum = 0.0;
    for (std::size_t i = 0; i < depth; ++i) {
      const std::size_t number = scored_[i].number;
      const double place = static_cast<double>(number - chosen_of(number).first);
      sum += std::log(static_cast<double>(asked_.candidates) / (place + 0.5));
    }
    return sum / static_cast<double>(depth);
  }

  const Chosen& chosen_of(std::size_t number) const { return chosen_[segment_of(number)]; }

  std::size_t segment_of(std::size_t number) const {
    const auto behind = std::upper_bound(
        chosen_.begin(), chosen_.end(), number,
        [](std::size_t wanted, const Chosen& one) { return wanted < one.first; });
    return static_cast<std::size_t>(behind - chosen_.begin()) - 1;
  }

  Rescored row(std::size_t q, std::size_t number) const {
    const std::size_t of = segment_of(number);
    const Chosen& some = chosen_[of];
    const std::int64_t row = some.rows[q * some.count + number - some.first];
    return {segments_[of].vectors + static_cast<std::size_t>(row) * queries_.d, segments_[of].first_row + row};
  }

  const Path& path_;
  const std::vector<CascadeRows>& segments_;
  const std::vector<Chosen>& chosen_;
  const CascadeQueries& queries_;
  const CascadeAsked& asked_;
  std::size_t width_, kept_;
  std::vector<Scored> scored_;
  Rescorer rescorer_;
};

}  // namespace

std::int64_t cascade_top_k(const Path& path, const std::vector<CascadeRows>& segments,
                           const CascadeQueries& queries, const CascadeAsked& asked, float* scores,
                           std::int64_t* positions, double* leads, std::int64_t* scored, std::int64_t* spent,
                           std::size_t threads, Watch* watch) {
  const auto started = Clock::now();
  std::vector<Chosen> chosen;
  std::vector<CascadeRows> there;
  std::size_t width = 0;
  for (const CascadeRows& segment : segments) {
    Chosen some;
    some.first = width;
    some.count = std::min(asked.candidates, segment.mask.allowed);
    if (!some.count) continue;
    some.rows.resize(queries.count * some.count);
    hamming_nearest(path, segment.binary, segment.n, queries.n_words, segment.mask, queries.words,
                    queries.count, some.count, some.rows.data(), threads, watch);
    if (watch && watch->stopped()) return -1;
    width += some.count;
    chosen.push_back(std::move(some));
    there.push_back(segment);
  }
  const auto selected = Clock::now();
  if (asked.kept < width || !asked.depths.empty())
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      Chosen& some = chosen[i];
      some.scores.resize(some.rows.size());
      int8_gather(path, there[i].int8, there[i].scale, queries.d, queries.codes, queries.count,
                  some.rows.data(), some.count, some.scores.data(), threads, watch);
      if (watch && watch->stopped()) return -1;
    }
  const auto refined = Clock::now();
  const std::size_t parts = std::max<std::size_t>(1, std::min(threads, queries.count));
  std::atomic<std::int64_t> damaged{-1};
  in_parallel(parts, [&](std::size_t part) {
    Ranker ranker(path, there, chosen, queries, asked, width);
    const std::size_t last = share(queries.count, parts, part + 1);
    for (std::size_t q = share(queries.count, parts, part); q < last && !stop(watch); ++q)
      scored[q] = static_cast<std::int64_t>(ranker.rank(q, scores, positions, leads));
    if (ranker.damaged() >= 0) damaged = ranker.damaged();
  }, watch);
  spent[0] = nanoseconds(selected - started);
  spent[1] = nanoseconds(refined - selected);
  spent[2] = nanoseconds(Clock::now() - refined);
  return damaged;
}

}  // namespace qsearch
