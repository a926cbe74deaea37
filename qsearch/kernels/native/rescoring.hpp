// The last stage of every search by candidates: their floats decide.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "scorer.hpp"
#include "selection.hpp"

namespace qsearch {

// A candidate's floats, and its position in the index.
struct Rescored {
  const float* row;
  std::int64_t position;
};

class Rescorer {
 public:
  // The position of a row whose score is not finite, or -1.
  std::int64_t damaged() const { return damaged_; }

  // The k best of `count` candidates by their exact scores, ties by position; behind the last -infinity and -1.
  // `at(i)` is candidate i.
  template <typename At>
  void rescore(const Path& path, const float* query, std::size_t d, std::size_t count, std::size_t k, const At& at,
               float* scores, std::int64_t* positions) {
    const Scorer scorer(path, query, d);
    exact_.clear();
    constexpr std::size_t kAhead = 3;  // rows that are on their way
    for (std::size_t i = 0; i < count; ++i) {
      if (i + kAhead < count) {
        const float* next = at(i + kAhead).row;
        for (std::size_t j = 0; j < d; j += 16) __builtin_prefetch(next + j);
      }
      const Rescored one = at(i);
      const float score = scorer.score(one.row);
      if (std::isfinite(score))
        exact_.push_back({score, one.position});
      else
        damaged_ = one.position;
    }
    const std::size_t found = std::min(k, exact_.size());
    std::partial_sort(exact_.begin(), exact_.begin() + static_cast<std::ptrdiff_t>(found), exact_.end(),
                      [](const Exact& a, const Exact& b) {
                        return a.score > b.score || (a.score == b.score && a.position < b.position);
                      });
    for (std::size_t i = 0; i < k; ++i) {
      scores[i] = i < found ? exact_[i].score : kNone;
      positions[i] = i < found ? exact_[i].position : -1;
    }
  }

 private:
  struct Exact {
    float score;
    std::int64_t position;
  };

  std::vector<Exact> exact_;
  std::int64_t damaged_ = -1;
};

}  // namespace qsearch
