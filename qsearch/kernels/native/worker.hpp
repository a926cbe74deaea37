// One thread's part of a certified search: it scans, sieves, refines and scores. docs/exactness.md has the proof.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <vector>

#include "best.hpp"
#include "bounds.hpp"
#include "clock.hpp"
#include "fetching.hpp"
#include "scorer.hpp"
#include "search.hpp"
#include "selection.hpp"
#include "zeros.hpp"

// certified.cpp alone includes it: what nobody else can call is put in line where it is called.
namespace qsearch {
namespace {

float raise(std::atomic<float>& shared, float value) {
  float seen = shared.load(std::memory_order_relaxed);
  while (seen < value && !shared.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
  return std::max(seen, value);
}

constexpr std::size_t kChunkBlocks = 128;   // 2,048 rows between two looks at the survivors
constexpr std::size_t kMaskBytes = kBlockRows / 8;
constexpr std::size_t kRefined = 32;        // survivors that are refined together
constexpr std::size_t kEarly = 32;         // survivors in a piece whose codes are fetched while it is scanned
constexpr std::size_t kMostWaiting = 8192;  // rows of a query that wait to be scored

// The error of an int8 score is a sum over d components that point either way, so it is about
// width / sqrt(d), and hardly ever this many times as much.
constexpr double kDeviations = 3.6;

// A row that the codes let through, to be scored when it is known how high the best are.
struct Candidate {
  std::uint32_t row;
  float bound;  // no score of the row is higher
};

// One query while it is searched.
struct State {
  State(Heap best, std::size_t k) : heap(best), likely(k) {}

  // Begin with the first `filled` places of the heap in use, and k documents that reach `score`.
  void restart(std::size_t filled, float score) {
    heap.restore(filled);
    likely.clear();
    for (std::size_t i = 0; i < filled; ++i) likely.push(heap.score(i));
    waiting.clear();
    floor = score;
    used = kNone;
  }

  Heap heap;                       // exact scores
  Highest likely;                  // what scores are at least, by codes: surely, or very likely
  std::vector<Candidate> waiting;
  float floor = kNone;             // a score that k documents are known to reach
  float used = kNone;              // the highest score by which a row was left out
};

// The order in which the chunks of a segment are gone through: each far from those before it, so that
// what has been seen at any time is a sample of all rows, however they are ordered.
class Spread {
 public:
  explicit Spread(std::size_t chunks) : chunks_(chunks), step_(1) {
    if (chunks < 4) return;
    step_ = static_cast<std::size_t>(0.6180339887 * static_cast<double>(chunks));
    while (divisor(step_, chunks) != 1) ++step_;
  }

  std::size_t chunk(std::size_t turn) const { return turn * step_ % chunks_; }

 private:
  static std::size_t divisor(std::size_t a, std::size_t b) {
    while (b) std::swap(a %= b, b);
    return a;
  }

  std::size_t chunks_, step_;
};

// One thread's part of a search: some blocks for some queries, at most kPassQueries.
class Worker {
 public:
  // `which` are the numbers of the queries.
  Worker(const Path& path, const Rows& rows, const Queries& queries,
         const std::vector<std::size_t>& which, std::size_t k, bool guess, Watch* watch)
      : path_(path),
        rows_(rows),
        queries_(queries),
        which_(which),
        count_(which.size()),
        k_(k),
        watch_(watch),
        likely_width_(guess ? std::min(1.0, kDeviations / std::sqrt(static_cast<double>(rows.d))) : 1.0),
        guess_(guess),
        groups_(rows.head / kGroup),
        packed_(count_ * groups_),
        scans_(count_),
        intervals_(count_),
        head_intervals_(count_),
        code_sums_(count_),
        masks_(count_),
        found_(count_),
        reached_(count_),
        survivors_(new std::uint32_t[count_ * kRoom]),
        fetching_(rows, kRoom) {
    std::int32_t* place = packed_.data();
    for (std::size_t tile = 0; tile < count_; tile += kTileQueries) {
      const std::size_t n = std::min(kTileQueries, count_ - tile);
      for (std::size_t g = 0; g < groups_; ++g)
        for (std::size_t q = 0; q < n; ++q)
          std::memcpy(place++, queries.head_codes + which[tile + q] * rows.head + g * kGroup,
                      kGroup);
    }
    for (std::size_t q = 0; q < count_; ++q) {
      const std::size_t number = which[q];
      head_intervals_[q] = queries.head_intervals[number];
      intervals_[q] = queries.intervals[number];
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < rows.head; ++i) sum += queries.head_codes[number * rows.head + i];
      scans_[q] = scan_query(head_intervals_[q], sum);
      const std::int8_t* codes = queries.codes + number * rows.d;
      for (std::size_t i = 0; i < rows.d; ++i) code_sums_[q] += codes[i];
      sieves_.push_back(sieve_query(intervals_[q], codes, code_sums_[q]));
      scorers_.emplace_back(path, queries.vectors + number * rows.d, rows.d);
    }
  }

  // Brings `states` (one for each query of `which`) up to date with blocks [begin, end). `seen` is the
  // number of allowed rows that are in the heaps already. `shared` and `counts` are of all queries.
  void run(std::size_t begin, std::size_t end, std::size_t seen, State* states,
           std::atomic<float>* shared, Counts* counts) {
    Clock::duration scanning{}, refining{};
    const std::size_t there = std::max<std::size_t>(1, rows_.before + rows_.mask.allowed);
    const Spread spread((end - begin + kChunkBlocks - 1) / kChunkBlocks);
    std::size_t done = 0;
    // The first pieces are small: until k documents are scored nothing can be left out.
    std::size_t length = kTileBlocks;
    for (std::size_t turn = 0; done < end - begin; ++turn) {
      std::size_t block = begin + spread.chunk(turn) * kChunkBlocks;
      for (const std::size_t chunk_end = std::min(end, block + kChunkBlocks); block < chunk_end;) {
        if (stop(watch_)) return;
        const std::size_t piece_end = std::min(chunk_end, block + length);
        const std::size_t here = allowed(block, piece_end);
        done += piece_end - block;
        if (!here) {
          block = piece_end;
          continue;
        }
        const double share = static_cast<double>(seen) / static_cast<double>(there);
        const std::size_t rank = guess_ ? safe_rank(k_, share) : k_;
        for (std::size_t q = 0; q < count_; ++q) {
          State& state = states[q];
          float needed = std::max(state.used, std::max(state.floor, state.likely.lowest()));
          if (rank < k_) needed = std::max(needed, state.likely.at(rank, scratch_));
          if (shared) needed = raise(shared[which_[q]], needed);
          state.used = needed;
          scans_[q].threshold = scan_threshold(needed, head_intervals_[q]);
          sieves_[q].threshold = sieve_threshold(needed, intervals_[q]);
          found_[q] = reached_[q] = 0;
        }
        const auto started = Clock::now();
        fetching_.begin(block * kBlockRows);
        for (std::size_t four = block; four < piece_end; four += kTileBlocks)
          scan(four, std::min(kTileBlocks, piece_end - four), end);
        const auto scanned = Clock::now();
        for (std::size_t q = 0; q < count_; ++q) {
          refine(q, states[q], counts[which_[q]]);
          if (shared) raise(shared[which_[q]], states[q].used);
        }
        scanning += scanned - started - sieving_;
        refining += Clock::now() - scanned + sieving_;
        sieving_ = {};
        seen += here;
        block = piece_end;
        length = std::min(kChunkBlocks, length * 2);
      }
    }
    const auto refined = Clock::now();
    for (std::size_t q = 0; q < count_; ++q) {
      if (stop(watch_)) return;
      if (shared) states[q].used = raise(shared[which_[q]], states[q].used);
      score(q, states[q], counts[which_[q]]);
    }
    const auto scoring = Clock::now() - refined;
    for (std::size_t q = 0; q < count_; ++q)
      counts[which_[q]].add({0, 0, shared_out(scanning), shared_out(refining), shared_out(scoring)});
  }

  bool finite() const { return finite_; }

 private:
  std::int64_t shared_out(Clock::duration spent) const {
    return nanoseconds(spent) / static_cast<std::int64_t>(count_);
  }

  static constexpr std::size_t kRoom = kChunkBlocks * kBlockRows;

  // How many of the rows of blocks [begin, end) are allowed.
  std::size_t allowed(std::size_t begin, std::size_t end) const {
    if (rows_.mask.bits) return rows_.mask.count(begin * kMaskBytes, end * kMaskBytes);
    return std::min(rows_.n, end * kBlockRows) - begin * kBlockRows;
  }

  // At most kTileBlocks blocks, but for those without an allowed row: these are not read.
  void scan(std::size_t block, std::size_t count, std::size_t end) {
    const std::size_t next = block + count, following = std::min(end - next, kTileBlocks);
    if (!rows_.mask.bits) {
      scan(block, count, ~std::uint64_t{0}, next, following);
      return;
    }
    const bool wanted = count_ > kTileQueries &&  // else nothing is fetched ahead
                        rows_.mask.bytes(next * kMaskBytes, following * kMaskBytes) != 0;
    std::uint64_t left = rows_.mask.bytes(block * kMaskBytes, count * kMaskBytes);
    constexpr std::uint64_t kOne = (std::uint64_t{1} << kBlockRows) - 1;
    if (count == kTileBlocks && left & kOne && left & kOne << kBlockRows &&
        left & kOne << 2 * kBlockRows && left & kOne << 3 * kBlockRows) {
      scan(block, count, left, next, wanted ? following : 0);
      return;
    }
    for (std::size_t b = 0; left;) {
      std::size_t run = 0;
      for (; left & kOne; ++run) left >>= kBlockRows;
      if (run) {
        const std::uint64_t mask = rows_.mask.bytes((block + b) * kMaskBytes, run * kMaskBytes);
        scan(block + b, run, mask, next, wanted && !left ? following : 0);
      }
      b += run + 1;
      left >>= kBlockRows;
    }
  }

  // Blocks against every query: they stay in the first cache while the next ones are fetched. `mask` has
  // a bit for each of their rows.
  void scan(std::size_t block, std::size_t count, std::uint64_t mask, std::size_t following,
            std::size_t following_count) {
    const std::size_t block_bytes = kBlockRows * rows_.head;
    const std::uint8_t* blocks = rows_.rotated + block * block_bytes;
    const std::uint8_t* next = rows_.rotated + following * block_bytes;
    const std::size_t lines = following_count * block_bytes / 64;
    const std::size_t rows = std::min(rows_.n - block * kBlockRows, count * kBlockRows);
    const std::uint64_t there = ~std::uint64_t{0} >> (kSieveRows - rows);
    std::uint64_t impossible = 0;
    const std::size_t tiles = (count_ + kTileQueries - 1) / kTileQueries;
    const std::size_t lines_per_tile = tiles > 1 ? lines / tiles + 1 : 0;  // else it is a stream
    std::size_t line = 0;
    for (std::size_t first = 0; first < count_; first += kTileQueries) {
      for (const std::size_t stop = std::min(lines, line + lines_per_tile); line < stop; ++line)
        __builtin_prefetch(next + line * 64);
      const std::size_t n = std::min(kTileQueries, count_ - first);
      path_.scan(blocks, rows_.bounds + block * 3 * kBlockRows, count, groups_,
                 packed_.data() + first * groups_, scans_.data() + first, n, masks_.data() + first);
      if (!first) impossible = impossible_rows(rows_, block, count);  // in the first cache by now
      std::size_t passed = 0;
      for (std::size_t q = first; q < first + n; ++q) {
        masks_[q] = (masks_[q] | impossible) & mask & there;
        const auto some = static_cast<std::size_t>(__builtin_popcountll(masks_[q]));
        reached_[q] += some;
        if (sieves_[q].threshold > kNone) passed += some;  // else all would pass the sieve as well
      }
      // Few queries wait for memory, which two streams by turns would only make worse.
      if (count_ >= kManyQueries && passed * path_.sieve_share >= n * rows) sieved_.push_back(first);
    }
    if (!sieved_.empty()) sieve(block * kBlockRows, rows);
    for (std::size_t q = 0; q < count_; ++q) {
      for (std::uint64_t left = masks_[q]; left; left &= left - 1) {
        const std::size_t row = block * kBlockRows + static_cast<std::size_t>(__builtin_ctzll(left));
        survivors_[q * kRoom + found_[q]++] = static_cast<std::uint32_t>(row);
        if (found_[q] <= kEarly) fetching_.codes_ahead(row);
      }
    }
  }

  // Where many rows of some blocks pass the scan, their int8 codes are held against all queries of a tile at once,
  // before those that are left are looked at one by one.
  void sieve(std::size_t row, std::size_t rows) {
    const auto started = Clock::now();
    for (const std::size_t first : sieved_) {
      const std::size_t n = std::min(kTileQueries, count_ - first);
      std::uint64_t passed[kTileQueries];
      path_.sieve(rows_.int8 + row * rows_.d, rows_.scale + row, rows_.residual + row, rows, rows_.d,
                  sieves_.data() + first, n, passed);
      for (std::size_t q = 0; q < n; ++q) masks_[first + q] &= passed[q];
    }
    sieved_.clear();
    sieving_ += Clock::now() - started;
  }

  // The survivors of a piece by their int8 codes.
  void refine(std::size_t q, State& state, Counts& counts) {
    const std::size_t n = found_[q], d = rows_.d;
    const std::uint32_t* survivors = survivors_.get() + q * kRoom;
    const std::int8_t* codes = queries_.codes + which_[q] * d;
    const std::int8_t* codes_of[kDots];
    std::int32_t dots[kRefined];
    std::uint32_t left[kRefined];
    counts.reached += static_cast<std::int64_t>(reached_[q]);
    for (std::size_t first = 0; first < n; first += kRefined) {
      const std::size_t count = std::min(kRefined, n - first);
      for (std::size_t four = 0; four < count; four += kDots) {
        for (std::size_t i = 0; i < kDots; ++i) {
          const std::size_t next = first + four + kDots + i;
          if (next < n && next >= kEarly) fetching_.codes(survivors[next]);
          const std::size_t here = std::min(first + four + i, n - 1);
          codes_of[i] = rows_.int8 + std::size_t{survivors[here]} * d;
        }
        path_.int8_dots(codes_of, codes, d, code_sums_[q], dots + four);
      }
      std::size_t n_left = 0;
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t row = survivors[first + i];
        const float scale = rows_.scale[row];
        const Estimate found = estimate(intervals_[q], scale, rows_.residual[row], dots[i]);
        left[n_left] = static_cast<std::uint32_t>(i);
        n_left += !((dots[i] != 0) & (scale > 0.0f) & surely_out(found, state.used));
      }
      for (std::size_t i = 0; i < n_left; ++i) keep(q, survivors[first + left[i]], dots[left[i]], state);
    }
    state.used = std::max(state.used, state.likely.lowest());
    if (state.waiting.size() > kMostWaiting) score(q, state, counts);
  }

  // A row waits for its floats, unless its int8 code leaves it out.
  void keep(std::size_t q, std::uint32_t row, std::int32_t dot, State& state) {
    const float scale = rows_.scale[row];
    const Estimate found = estimate(intervals_[q], scale, rows_.residual[row], dot);
    const float bound = upper_bound(found);
    // No row has the scale 0, nor codes that are all 0: a file of zeros has.
    const bool sound =
        can_be_upper(bound) && scale > 0.0f && (dot != 0 || any(rows_.int8 + row * rows_.d, rows_.d));
    if (sound && out(bound, state.used)) return;
    // A damaged row passes all bounds: its floats decide.
    state.waiting.push_back({row, sound ? bound : kAll});
    const float least = lower_bound(found, likely_width_);
    if (sound && can_be_lower(least)) state.likely.push(least);
  }

  static bool any(const std::int8_t* codes, std::size_t d) {
    return std::any_of(codes, codes + d, [](std::int8_t one) { return one != 0; });
  }

  // Score what waits: first the most promising, which tell how high the best are, then those of the others
  // that can come in, as they lie.
  void score(std::size_t q, State& state, Counts& counts) {
    std::vector<Candidate>& waiting = state.waiting;
    const auto hopeless = [&](const Candidate& one) { return out(one.bound, state.used); };
    waiting.erase(std::remove_if(waiting.begin(), waiting.end(), hopeless), waiting.end());
    std::sort(waiting.begin(), promising(waiting), [](const Candidate& a, const Candidate& b) {
      return a.bound > b.bound || (a.bound == b.bound && a.row < b.row);
    });
    const std::size_t n = waiting.size();
    const auto late = [&](const Candidate& one) {
      return out(one.bound, std::max(state.floor, state.heap.threshold()));
    };
    for (std::size_t i = 0; i < std::min(n, kAhead); ++i) fetching_.floats(waiting[i].row);
    for (std::size_t i = 0; i < n; ++i) {
      if (i + kAhead < n && !late(waiting[i + kAhead])) fetching_.floats(waiting[i + kAhead].row);
      if (late(waiting[i])) continue;
      const std::size_t row = waiting[i].row;
      const float found = scorers_[q].score(rows_.vectors + row * rows_.d);
      ++counts.rescored;
      if (!std::isfinite(found)) {
        finite_ = false;
        continue;
      }
      state.heap.push(found, rows_.first_row + static_cast<std::int64_t>(row));
    }
    waiting.clear();
    state.used = std::max(state.used, std::max(state.floor, state.heap.threshold()));
  }

  // Brings those with the highest bounds to the front, and leaves all others in their order: rows that lie
  // near each other are read faster. Returns the end of the front.
  std::vector<Candidate>::iterator promising(std::vector<Candidate>& waiting) {
    const std::size_t front = 4 * k_ + 64;
    if (waiting.size() <= front) return waiting.end();
    scratch_.clear();
    for (const Candidate& one : waiting) scratch_.push_back(one.bound);
    const auto place = scratch_.begin() + static_cast<std::ptrdiff_t>(front);
    std::nth_element(scratch_.begin(), place, scratch_.end(), std::greater<float>());
    const float limit = *place;
    return std::stable_partition(waiting.begin(), waiting.end(),
                                 [&](const Candidate& one) { return one.bound > limit; });
  }

  static constexpr std::size_t kAhead = 3;  // rows whose floats, or codes, are on their way
  static constexpr float kAll = std::numeric_limits<float>::infinity();

  const Path& path_;
  const Rows& rows_;
  const Queries& queries_;
  std::vector<std::size_t> which_;
  std::size_t count_;
  std::size_t k_;
  Watch* watch_;
  double likely_width_;  // the part of a bound that the error of an int8 score stays below, surely or very likely
  bool guess_;
  std::size_t groups_;
  std::vector<std::int32_t> packed_;  // per tile of queries: (groups, queries)
  std::vector<ScanQuery> scans_;
  std::vector<Interval> intervals_;
  std::vector<Interval> head_intervals_;
  std::vector<std::int32_t> code_sums_;
  std::vector<Scorer> scorers_;
  std::vector<SieveQuery> sieves_;
  std::vector<std::uint64_t> masks_;  // of the blocks that are scanned: the rows that pass
  std::vector<std::size_t> sieved_;   // the tiles of queries that most of their rows pass
  Clock::duration sieving_{};
  std::vector<std::size_t> found_;    // survivors in a piece
  std::vector<std::size_t> reached_;  // rows of it that the scan let through
  std::unique_ptr<std::uint32_t[]> survivors_;  // not set to zero: little of it is touched
  Fetching fetching_;
  std::vector<float> scratch_;
  bool finite_ = true;
};

}  // namespace
}  // namespace qsearch
