// Searches on top of every path against their definition.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "checking.hpp"
#include "scorer.hpp"
#include "search.hpp"

namespace {

float cosine(const float* row, const float* query, std::size_t d) {
  return Scorer(*portable_path(), query, d).score(row);
}

// A vector of unit length as scale * codes, in `d` components; the rest of it is `rest` long.
struct Coded {
  std::vector<std::int8_t> codes;
  double scale, residual, rest;
};

Coded coded(const float* vector, std::size_t d, std::size_t head) {
  double square = 0, largest = 0, lost = 0, rest = 0;
  for (std::size_t i = 0; i < d; ++i) square += static_cast<double>(vector[i]) * vector[i];
  const double length = std::sqrt(square);
  for (std::size_t i = 0; i < head; ++i) largest = std::max(largest, std::fabs(vector[i] / length));
  Coded result = {std::vector<std::int8_t>(head), largest > 0 ? largest / 127 : 1.0, 0, 0};
  for (std::size_t i = 0; i < d; ++i) {
    const double x = vector[i] / length;
    if (i >= head) {
      rest += x * x;
      continue;
    }
    const double code = std::rint(x / result.scale);
    result.codes[i] = static_cast<std::int8_t>(code);
    lost += (x - result.scale * code) * (x - result.scale * code);
  }
  result.residual = std::sqrt(lost);
  result.rest = std::sqrt(rest);
  return result;
}

// Wide enough for every rounding: the search must be right, not fast.
constexpr double kSlack = 1e-5;

// cosine <= factor * dot * scale + (1 + lost) * residual + rest_factor * rest + lost: the product of
// two sums of a code and what it lost, by the triangle inequality.
Interval interval_of(const Coded& query) {
  return {query.scale, 1 + query.residual, query.rest, query.residual + kSlack};
}

// A segment as docs/format.md has it, its rotation the identity: the head is the first components.
class Segment {
 public:
  Segment(const std::vector<float>& vectors, std::size_t d, std::size_t head, std::size_t first)
      : vectors_(vectors), n_(vectors.size() / d), d_(d), head_(head), first_(first),
        rotated_((n_ + kBlockRows - 1) / kBlockRows * kBlockRows * head, 128),
        bounds_((n_ + kBlockRows - 1) / kBlockRows * 3 * kBlockRows) {
    for (std::size_t row = 0; row < n_; ++row) {
      const Coded whole = coded(vectors_.data() + row * d, d, d);
      const Coded part = coded(vectors_.data() + row * d, d, head);
      int8_.insert(int8_.end(), whole.codes.begin(), whole.codes.end());
      scale_.push_back(static_cast<float>(whole.scale));
      residual_.push_back(static_cast<float>(whole.residual));
      const std::size_t block = row / kBlockRows, r = row % kBlockRows;
      for (std::size_t i = 0; i < head; ++i)
        rotated_[((block * (head / kGroup) + i / kGroup) * kBlockRows + r) * kGroup + i % kGroup] =
            static_cast<std::uint8_t>(part.codes[i] + 128);
      float* bounds = bounds_.data() + block * 3 * kBlockRows + r;
      bounds[0] = static_cast<float>(part.scale);
      bounds[kBlockRows] = static_cast<float>(part.residual);
      bounds[2 * kBlockRows] = static_cast<float>(part.rest);
    }
  }

  // Makes a row nothing but a NaN for a score, and leaves nothing that could exclude it.
  void spoil(std::size_t row) {
    std::fill_n(vectors_.begin() + static_cast<std::ptrdiff_t>(row * d_), d_, 0.0f);
    residual_[row] = 10.0f;
    bounds_[(row / kBlockRows * 3 + 1) * kBlockRows + row % kBlockRows] = 10.0f;
  }

  Rows rows() const {
    return {n_, d_, head_, rotated_.data(), bounds_.data(), int8_.data(), scale_.data(),
            residual_.data(), vectors_.data(), static_cast<std::int64_t>(first_),
            0, {nullptr, n_}};
  }

 private:
  std::vector<float> vectors_;
  std::size_t n_, d_, head_, first_;
  std::vector<std::uint8_t> rotated_;
  std::vector<float> bounds_;
  std::vector<std::int8_t> int8_;
  std::vector<float> scale_, residual_;
};

// Rows in an order without meaning, many of them twice, or the best for the first query in front: what
// the search guesses from the first rows is then wrong.
enum class Order { kAny, kTwice, kFalling };

void check_certified(std::vector<Tally>& tallies, std::size_t n, std::size_t d, std::size_t head,
                     std::size_t n_queries, std::size_t k, Order order) {
  std::vector<float> vectors(n * d), query_vectors(n_queries * d);
  for (auto& x : vectors) x = random_.any();
  for (auto& x : query_vectors) x = random_.any();
  std::vector<std::size_t> from(n);
  std::iota(from.begin(), from.end(), std::size_t{0});
  if (order == Order::kTwice)
    for (auto& row : from) row = random_.below(n / 4 + 1);
  if (order == Order::kFalling)
    std::sort(from.begin(), from.end(), [&](std::size_t a, std::size_t b) {
      return cosine(&vectors[a * d], &query_vectors[0], d) >
             cosine(&vectors[b * d], &query_vectors[0], d);
    });
  std::vector<float> ordered;
  for (const std::size_t row : from)
    ordered.insert(ordered.end(), &vectors[row * d], &vectors[row * d] + d);

  std::vector<std::int8_t> head_codes, codes;
  std::vector<Interval> head_intervals, intervals;
  for (std::size_t q = 0; q < n_queries; ++q) {
    const Coded part = coded(&query_vectors[q * d], d, head);
    const Coded whole = coded(&query_vectors[q * d], d, d);
    head_codes.insert(head_codes.end(), part.codes.begin(), part.codes.end());
    codes.insert(codes.end(), whole.codes.begin(), whole.codes.end());
    head_intervals.push_back(interval_of(part));
    intervals.push_back(interval_of(whole));
  }
  const Queries queries = {n_queries, query_vectors.data(), head_codes.data(),
                           head_intervals.data(), codes.data(), intervals.data()};

  const std::size_t places = std::min(k, n);
  std::vector<float> expected(n_queries * k, -1.0f);
  std::vector<std::int64_t> expected_positions(n_queries * k, -1);
  for (std::size_t q = 0; q < n_queries; ++q) {
    std::vector<float> scores(n);
    for (std::size_t row = 0; row < n; ++row)
      scores[row] = cosine(&ordered[row * d], &query_vectors[q * d], d);
    std::vector<std::size_t> ranked(n);
    std::iota(ranked.begin(), ranked.end(), std::size_t{0});
    std::stable_sort(ranked.begin(), ranked.end(),
                     [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
    for (std::size_t i = 0; i < places; ++i) {
      expected[q * k + i] = scores[ranked[i]];
      expected_positions[q * k + i] = static_cast<std::int64_t>(ranked[i]);
    }
  }

  const std::size_t cut = n / 3 * d;  // two segments, so that the second finds places in use
  Segment segments[] = {Segment({ordered.begin(), ordered.begin() + static_cast<long>(cut)}, d, head,
                                0),
                        Segment({ordered.begin() + static_cast<long>(cut), ordered.end()}, d, head,
                                n / 3)};
  for (Tally& tally : tallies) {
    for (const std::size_t threads : kThreads) {
      std::vector<float> scores(n_queries * k, -1.0f);
      std::vector<std::int64_t> positions(n_queries * k, -1);
      std::vector<Counts> counts(n_queries);
      bool finite = true;
      std::size_t filled = 0;
      for (const Segment& segment : segments) {
        const Rows rows = segment.rows();
        finite = certified_top_k(*tally.path, rows, queries, k, filled, scores.data(),
                                 positions.data(), counts.data(), threads) && finite;
        filled = std::min(k, filled + rows.n);
      }
      expect(tally, finite, "certified_top_k found a number that is not finite");
      for (std::size_t i = 0; i < n_queries * k; ++i)
        expect(tally, same_bits(scores[i], expected[i]) && positions[i] == expected_positions[i],
               "certified_top_k, n = %zu, d = %zu, head = %zu, query %zu of %zu, rank %zu of %zu, "
               "order %d, %zu threads: row %lld with %.9g instead of %lld with %.9g",
               n, d, head, i / k, n_queries, i % k, k, static_cast<int>(order), threads,
               static_cast<long long>(positions[i]), scores[i],
               static_cast<long long>(expected_positions[i]), expected[i]);
    }
  }

  segments[1].spoil(random_.below(n - n / 3));
  for (Tally& tally : tallies)
    for (const std::size_t threads : kThreads) {
      std::vector<float> scores(n_queries * k);
      std::vector<std::int64_t> positions(n_queries * k);
      std::vector<Counts> counts(n_queries);
      expect(tally,
             !certified_top_k(*tally.path, segments[1].rows(), queries, k, 0, scores.data(),
                              positions.data(), counts.data(), threads),
             "certified_top_k, %zu threads, passed over a row that is not finite", threads);
    }
}

void check_hamming_nearest(std::vector<Tally>& tallies, std::size_t n, std::size_t words,
                           std::size_t n_queries, std::size_t count, Order order) {
  const std::size_t blocks = (n + kHammingRows - 1) / kHammingRows;
  std::vector<std::uint64_t> rows(blocks * words * kHammingRows), queries(n_queries * words);
  for (auto& word : queries) word = random_.bits();
  for (std::size_t row = 0; row < blocks * kHammingRows; ++row)
    for (std::size_t w = 0; w < words; ++w) {
      std::uint64_t& word =
          rows[(row / kHammingRows * words + w) * kHammingRows + row % kHammingRows];
      word = random_.bits() & random_.bits();
      // Each row differs from the first query in about as many bits as its place says, or more.
      if (order == Order::kFalling)
        word = queries[w] ^ (row * 64 / n < 64 ? (word | ((1ull << row * 64 / n) - 1)) : ~0ull);
    }
  const Fenced<std::uint64_t> room(rows.size());
  const std::uint64_t* held = room.hold(rows);
  std::vector<std::int64_t> expected;
  for (std::size_t q = 0; q < n_queries; ++q) {
    std::vector<int> distances(n);
    for (std::size_t row = 0; row < n; ++row)
      for (std::size_t w = 0; w < words; ++w)
        distances[row] += __builtin_popcountll(
            queries[q * words + w] ^
            rows[(row / kHammingRows * words + w) * kHammingRows + row % kHammingRows]);
    std::vector<std::int64_t> ranked(n);
    std::iota(ranked.begin(), ranked.end(), std::int64_t{0});
    std::stable_sort(ranked.begin(), ranked.end(), [&](std::int64_t a, std::int64_t b) {
      return distances[static_cast<std::size_t>(a)] < distances[static_cast<std::size_t>(b)];
    });
    expected.insert(expected.end(), ranked.begin(), ranked.begin() + static_cast<long>(count));
  }
  for (Tally& tally : tallies)
    for (const std::size_t threads : kThreads) {
      std::vector<std::int64_t> found(n_queries * count);
      hamming_nearest(*tally.path, held, n, words, {nullptr, n}, queries.data(), n_queries, count,
                      found.data(), threads);
      for (std::size_t i = 0; i < found.size(); ++i)
        expect(tally, found[i] == expected[i],
               "hamming_nearest, n = %zu, %zu words, query %zu of %zu, rank %zu of %zu, %zu threads: "
               "row %lld instead of %lld",
               n, words, i / count, n_queries, i % count, count, threads,
               static_cast<long long>(found[i]), static_cast<long long>(expected[i]));
    }
}

void check_gathers(std::vector<Tally>& tallies, std::size_t d) {
  constexpr std::size_t kRows = 150, kQueries = 7, kWidth = 500;  // 3,500 places: enough for threads
  std::vector<std::int8_t> codes(kRows * d), query_codes(kQueries * d);
  for (auto& code : codes) code = static_cast<std::int8_t>(random_.code(0));
  for (auto& code : query_codes) code = static_cast<std::int8_t>(random_.code(0));
  std::vector<float> vectors(kRows * d), query_vectors(kQueries * d), scale(kRows);
  for (auto& x : vectors) x = random_.any();
  for (auto& x : query_vectors) x = random_.any();
  for (auto& x : scale) x = std::fabs(random_.symmetric());
  std::vector<std::int64_t> indices(kQueries * kWidth);
  for (auto& index : indices) index = static_cast<std::int64_t>(random_.below(kRows + 1)) - 1;
  const Fenced<std::int8_t> code_room(codes.size());
  const Fenced<float> vector_room(vectors.size());
  const std::int8_t* held_codes = code_room.hold(codes);
  const float* held = vector_room.hold(vectors);

  std::vector<float> approximate(indices.size(), -kInfinity), exact(indices.size(), -kInfinity);
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] < 0) continue;
    const std::size_t row = static_cast<std::size_t>(indices[i]), q = i / kWidth;
    std::int32_t dot = 0;
    for (std::size_t j = 0; j < d; ++j) dot += codes[row * d + j] * query_codes[q * d + j];
    approximate[i] = scale[row] * static_cast<float>(dot);
    exact[i] = cosine(&vectors[row * d], &query_vectors[q * d], d);
  }
  for (Tally& tally : tallies)
    for (const std::size_t threads : kThreads) {
      std::vector<float> found(indices.size());
      int8_gather(*tally.path, held_codes, scale.data(), d, query_codes.data(), kQueries,
                  indices.data(), kWidth, found.data(), threads);
      expect(tally, same_bits(found, approximate), "int8_gather, d = %zu, %zu threads", d, threads);
      cosine_gather(*tally.path, held, d, query_vectors.data(), kQueries, indices.data(), kWidth,
                    found.data(), threads);
      expect(tally, same_bits(found, exact), "cosine_gather, d = %zu, %zu threads", d, threads);
    }
}

void check_searches(std::vector<Tally>& tallies) {
  for (const Order order : {Order::kAny, Order::kTwice, Order::kFalling}) {
    check_certified(tallies, 2500, 96, 44, 1, 10, order);
    check_certified(tallies, 2500, 24, 12, 2, 300, order);  // places beyond the first guess
    check_certified(tallies, 2500, 33, 4, 7, 300, order);  // 4 of 33 components bound very little
    check_certified(tallies, 700, 20, 20, 100, 3, order);  // more queries than one pass takes
    check_certified(tallies, 50, 384, 100, 3, 60, order);  // fewer rows than places
  }
  for (const Order order : {Order::kAny, Order::kFalling})
    for (const std::size_t words : {1, 6, 7, 40}) {
      check_hamming_nearest(tallies, 5003, words, 1, 1, order);
      check_hamming_nearest(tallies, 5003, words, 1, 900, order);
      check_hamming_nearest(tallies, 2003, words, 13, 300, order);
      check_hamming_nearest(tallies, 9, words, 3, 9, order);
    }
  for (const std::size_t d : {1, 17, 96, 384, 1000}) check_gathers(tallies, d);
}

}  // namespace
