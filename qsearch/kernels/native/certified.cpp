// The certified search: codes rule rows out, floats decide (worker.hpp). Here queries or rows are divided among
// threads, and what they found is held against what they had guessed. docs/exactness.md has the proof.
#include <algorithm>
#include <atomic>
#include <memory>
#include <vector>

#include "best.hpp"
#include "pool.hpp"
#include "search.hpp"
#include "worker.hpp"

namespace qsearch {
namespace {

constexpr std::size_t kPassQueries = 96;    // queries whose codes stay in the first cache for a pass
constexpr std::size_t kTogether = 16;       // of fewer queries a thread, threads share rows out, not queries

// Whether a search that has guessed nothing, or nothing wrong, holds what it must: k documents where
// there are so many, none below a score that k documents reach. Only damaged codes can claim a score
// that no document has.
bool proven(float used, const Heap& heap, std::size_t k, std::size_t documents) {
  return used <= heap.threshold() && heap.size() == std::min(k, documents);
}

std::vector<std::size_t> numbers(std::size_t first, std::size_t last) {
  std::vector<std::size_t> all(last - first);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = first + i;
  return all;
}

// All rows for the queries [first, last) in this thread. The heaps hold `filled` documents each.
bool search_queries(const Path& path, const Rows& rows, const Queries& queries, std::size_t first,
                    std::size_t last, std::size_t k, std::size_t filled, float* scores,
                    std::int64_t* positions, Counts* counts, Watch* watch) {
  const std::size_t blocks = (rows.n + kBlockRows - 1) / kBlockRows;
  // What was there before is kept, for queries whose guess proves wrong.
  const std::vector<float> old_scores(scores + first * k, scores + last * k);
  const std::vector<std::int64_t> old_positions(positions + first * k, positions + last * k);
  std::vector<State> states;
  for (std::size_t q = first; q < last; ++q) {
    states.emplace_back(Heap(scores + q * k, positions + q * k, k), k);
    states.back().restart(filled, kNone);
  }
  Worker worker(path, rows, queries, numbers(first, last), k, true, watch);
  worker.run(0, blocks, rows.before, states.data(), nullptr, counts);
  if (watch && watch->stopped()) return true;
  bool finite = worker.finite();
  std::vector<std::size_t> wrong;
  std::vector<State> again;
  for (std::size_t q = first; q < last; ++q) {
    State& state = states[q - first];
    if (state.used > state.heap.threshold()) {
      // A guess was too high. k documents reach what the heap holds now (none, if it is not full).
      const float floor = state.heap.threshold();
      std::copy_n(old_scores.data() + (q - first) * k, k, scores + q * k);
      std::copy_n(old_positions.data() + (q - first) * k, k, positions + q * k);
      state.restart(filled, floor);
      wrong.push_back(q);
      again.push_back(state);
    }
  }
  if (!wrong.empty()) {
    Worker sure(path, rows, queries, wrong, k, false, watch);
    sure.run(0, blocks, rows.before, again.data(), nullptr, counts);
    if (watch && watch->stopped()) return true;
    finite = finite && sure.finite();
    for (std::size_t i = 0; i < wrong.size(); ++i) states[wrong[i] - first] = again[i];
  }
  for (State& state : states) {
    finite = finite && proven(state.used, state.heap, k, filled + rows.mask.allowed);
    state.heap.sort();
  }
  return finite;
}

// The queries [first, last), as all there are.
Queries some_of(const Queries& queries, const Rows& rows, std::size_t first, std::size_t last) {
  return {last - first,
          queries.vectors + first * rows.d,
          queries.head_codes + first * rows.head,
          queries.head_intervals + first,
          queries.codes + first * rows.d,
          queries.intervals + first};
}

// Few queries: each thread takes some of the rows, and they tell each other what the best k reach.
bool search_rows(const Path& path, const Rows& rows, const Queries& queries, std::size_t k,
                 std::size_t filled, float* scores, std::int64_t* positions, Counts* counts,
                 std::size_t threads, Watch* watch) {
  const std::size_t blocks = (rows.n + kBlockRows - 1) / kBlockRows;
  const std::size_t parts = std::max<std::size_t>(1, std::min(threads, blocks));
  const std::size_t n_queries = queries.count, places = n_queries * k;
  std::vector<float> part_scores(parts * places);
  std::vector<std::int64_t> part_positions(parts * places);
  std::vector<Counts> part_counts(parts * n_queries);
  std::vector<State> states;
  for (std::size_t part = 0; part < parts; ++part)
    for (std::size_t q = 0; q < n_queries; ++q)
      states.emplace_back(Heap(part_scores.data() + part * places + q * k,
                               part_positions.data() + part * places + q * k, k),
                          k);
  const auto shared = std::make_unique<std::atomic<float>[]>(n_queries);
  std::vector<float> floors(n_queries);
  for (std::size_t q = 0; q < n_queries; ++q) {
    Heap heap(scores + q * k, positions + q * k, k);
    heap.restore(filled);
    floors[q] = heap.threshold();
  }
  std::atomic<bool> finite{true};
  const auto search = [&](bool guess, const std::vector<std::size_t>& which) {
    in_parallel(
        parts,
        [&](std::size_t part) {
          std::vector<State> mine;
          for (const std::size_t q : which) {
            mine.push_back(states[part * n_queries + q]);
            mine.back().restart(0, floors[q]);
          }
          Worker worker(path, rows, queries, which, k, guess, watch);
          worker.run(share(blocks, parts, part), share(blocks, parts, part + 1), 0, mine.data(),
                     shared.get(), part_counts.data() + part * n_queries);
          for (std::size_t i = 0; i < which.size(); ++i)
            states[part * n_queries + which[i]] = mine[i];
          if (!worker.finite()) finite = false;
        },
        watch);
  };
  for (std::size_t q = 0; q < n_queries; ++q) shared[q] = floors[q];
  search(true, numbers(0, n_queries));
  if (watch && watch->stopped()) return true;
  std::vector<float> merged_scores(k);
  std::vector<std::int64_t> merged_positions(k);
  const auto merge = [&](std::size_t q) {
    std::copy_n(scores + q * k, k, merged_scores.data());
    std::copy_n(positions + q * k, k, merged_positions.data());
    Heap heap(merged_scores.data(), merged_positions.data(), k);
    heap.restore(filled);
    for (std::size_t part = 0; part < parts; ++part) {
      const std::size_t start = part * places + q * k;
      for (std::size_t i = 0; i < states[part * n_queries + q].heap.size(); ++i)
        heap.push(part_scores[start + i], part_positions[start + i]);
    }
    return heap;
  };
  std::vector<std::size_t> wrong;
  for (std::size_t q = 0; q < n_queries; ++q) {
    const float reached = merge(q).threshold();
    if (shared[q] > reached) {  // a guess was too high
      floors[q] = reached;
      shared[q] = reached;
      wrong.push_back(q);
    }
  }
  if (!wrong.empty()) search(false, wrong);
  if (watch && watch->stopped()) return true;
  for (std::size_t q = 0; q < n_queries; ++q) {
    Heap heap = merge(q);
    if (!proven(shared[q], heap, k, filled + rows.mask.allowed)) finite = false;
    heap.sort();
    std::copy_n(merged_scores.data(), k, scores + q * k);
    std::copy_n(merged_positions.data(), k, positions + q * k);
    for (std::size_t part = 0; part < parts; ++part) counts[q].add(part_counts[part * n_queries + q]);
  }
  return finite;
}

}  // namespace

bool certified_top_k(const Path& path, const Rows& rows, const Queries& queries, std::size_t k,
                     std::size_t filled, float* scores, std::int64_t* positions, Counts* counts,
                     std::size_t threads, Watch* watch) {
  const auto until = [&](std::size_t first, std::size_t last) {  // a pass, all about as large
    const std::size_t passes = (last - first + kPassQueries - 1) / kPassQueries;
    return first + (last - first + passes - 1) / passes;
  };
  if (threads > 1 && queries.count < kTogether * threads) {
    // A pass over the rows serves many queries for little more than one: no thread should make one for few.
    bool sound = true;
    for (std::size_t first = 0; first < queries.count && !stop(watch);) {
      const std::size_t last = until(first, queries.count);
      sound = search_rows(path, rows, some_of(queries, rows, first, last), k, filled, scores + first * k,
                          positions + first * k, counts + first, threads, watch) &&
              sound;
      first = last;
    }
    return sound;
  }
  const std::size_t parts = std::max<std::size_t>(1, std::min(threads, queries.count));
  std::atomic<bool> finite{true};
  in_parallel(parts, [&](std::size_t part) {
    const std::size_t end = share(queries.count, parts, part + 1);
    for (std::size_t first = share(queries.count, parts, part); first < end && !stop(watch);) {
      const std::size_t last = until(first, end);
      if (!search_queries(path, rows, queries, first, last, k, filled, scores, positions, counts,
                          watch))
        finite = false;
      first = last;
    }
  }, watch);
  return finite;
}

}  // namespace qsearch
