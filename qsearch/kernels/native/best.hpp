// The best of what a search has seen: documents by their scores, and scores by what codes say of them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "selection.hpp"

namespace qsearch {

inline bool better(float score, std::int64_t position, float than_score, std::int64_t than_position) {
  return score > than_score || (score == than_score && position < than_position);
}

// The k best of one query as a heap whose root is the worst of them.
class Heap {
 public:
  Heap(float* scores, std::int64_t* positions, std::size_t k)
      : scores_(scores), positions_(positions), k_(k) {}

  void restore(std::size_t filled) {
    size_ = filled;
    for (std::size_t i = size_ / 2; i-- > 0;) sink(i);
  }

  bool full() const { return size_ == k_; }
  std::size_t size() const { return size_; }

  float score(std::size_t i) const { return scores_[i]; }

  // A score that a document must reach to come in: none until there are k.
  float threshold() const { return full() ? scores_[0] : kNone; }

  void push(float score, std::int64_t position) {
    if (!full()) {
      std::size_t i = size_++;
      while (i > 0) {
        const std::size_t parent = (i - 1) / 2;
        if (!better(scores_[parent], positions_[parent], score, position)) break;
        put(i, scores_[parent], positions_[parent]);
        i = parent;
      }
      put(i, score, position);
    } else if (better(score, position, scores_[0], positions_[0])) {
      put(0, score, position);
      sink(0);
    }
  }

  void sort() {
    for (std::size_t end = size_; end > 1;) {
      --end;
      std::swap(scores_[0], scores_[end]);
      std::swap(positions_[0], positions_[end]);
      size_ = end;
      sink(0);
    }
  }

 private:
  void put(std::size_t i, float score, std::int64_t position) {
    scores_[i] = score;
    positions_[i] = position;
  }

  void sink(std::size_t i) {
    const float score = scores_[i];
    const std::int64_t position = positions_[i];
    for (;;) {
      std::size_t child = 2 * i + 1;
      if (child >= size_) break;
      if (child + 1 < size_ && better(scores_[child], positions_[child], scores_[child + 1],
                                      positions_[child + 1]))
        ++child;
      if (!better(score, position, scores_[child], positions_[child])) break;
      put(i, scores_[child], positions_[child]);
      i = child;
    }
    put(i, score, position);
  }

  float* scores_;
  std::int64_t* positions_;
  std::size_t k_;
  std::size_t size_ = 0;
};

// The k highest of some numbers; the lowest of them is at hand.
class Highest {
 public:
  explicit Highest(std::size_t k) : k_(k) {}

  void clear() {
    values_.clear();
    pushed_ = next_ = 0;
    found_ = kNone;
  }

  void push(float value) {
    ++pushed_;
    if (values_.size() < k_) {
      values_.push_back(value);
      std::push_heap(values_.begin(), values_.end(), std::greater<float>());
    } else if (value > values_.front()) {
      std::pop_heap(values_.begin(), values_.end(), std::greater<float>());
      values_.back() = value;
      std::push_heap(values_.begin(), values_.end(), std::greater<float>());
    }
  }

  // The k-th highest; none if there are fewer.
  float lowest() const { return values_.size() < k_ ? kNone : values_.front(); }

  // The rank-th highest, from 1; none if there are fewer. To find it takes time in proportion to k, so it
  // is looked for again only when enough has come in to change it: what it was before is not above it.
  float at(std::size_t rank, std::vector<float>& scratch) {
    if (values_.size() < rank) return kNone;
    if (rank == k_) return values_.front();
    if (pushed_ < next_) return found_;
    pushed_ = 0;
    next_ = 1 + values_.size() / 256;
    scratch = values_;
    const auto place = scratch.begin() + static_cast<std::ptrdiff_t>(rank - 1);
    std::nth_element(scratch.begin(), place, scratch.end(), std::greater<float>());
    found_ = *place;
    return found_;
  }

 private:
  std::size_t k_;
  std::vector<float> values_;
  std::size_t pushed_ = 0;  // numbers since `found_` was found
  std::size_t next_ = 0;    // at so many it is looked for again
  float found_ = kNone;
};

}  // namespace qsearch
