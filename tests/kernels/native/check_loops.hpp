// Inner loops of every path against plain C++.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "checking.hpp"

namespace {

using Masks = std::array<std::uint64_t, kTileQueries>;

// The masks that `write` writes for so many queries. It must leave those of others as they are.
template <typename Write>
Masks masks_of(Tally& tally, const char* name, std::size_t n_queries, const Write& write) {
  constexpr std::uint64_t kUntouched = 0xa5c3;
  Masks masks;
  masks.fill(kUntouched);
  write(masks.data());
  for (std::size_t q = n_queries; q < kTileQueries; ++q)
    expect(tally, masks[q] == kUntouched, "%s wrote query %zu of %zu", name, q, n_queries);
  return masks;
}

// One tile of queries against some blocks. A path with a fused multiply-add rounds a bound less often
// than the portable one. With `exact_products` the factors are so short that the products are exact,
// so that nothing is rounded differently, and a threshold that a row reaches exactly must count.
// Without it, rows are left out whose bound is nearer to the threshold than 1e-5 of the largest term.
// Every fourth time some rows are damaged: these must pass, whatever the threshold.
void check_scan(std::vector<Tally>& tallies, std::size_t groups, std::size_t count,
                std::size_t n_queries, std::size_t kind, bool exact_products) {
  static const Fenced<std::uint8_t> block_room(kTileBlocks * 1024 * kBlockRows * kGroup);
  static const Fenced<float> bound_room(kTileBlocks * 3 * kBlockRows);
  static const Fenced<std::int32_t> packed_room(1024 * kTileQueries);
  const std::size_t bytes = count * groups * kBlockRows * kGroup;
  std::uint8_t* blocks = block_room.last(bytes);
  for (std::size_t i = 0; i < bytes; ++i)
    blocks[i] = static_cast<std::uint8_t>(random_.code(kind) + 128);
  std::int32_t* packed = packed_room.last(groups * n_queries);
  std::vector<std::int32_t> sums(n_queries);
  const std::int32_t most = random_.below(2) ? 127 : 32;
  for (std::size_t i = 0; i < groups * n_queries; ++i) {
    std::int8_t codes[kGroup];
    for (auto& code : codes) {
      code = static_cast<std::int8_t>(random_.code(kind) * most / 127);
      sums[i % n_queries] += code;
    }
    std::memcpy(packed + i, codes, sizeof codes);
  }
  const auto factor = [&] {
    return exact_products ? static_cast<float>(random_.below(1 << 12)) / 4096.0f
                          : std::fabs(random_.symmetric());
  };
  float* bounds = bound_room.last(count * 3 * kBlockRows);
  for (std::size_t i = 0; i < count * 3 * kBlockRows; ++i) bounds[i] = factor();
  for (std::size_t b = 0; b < count; ++b)  // codes count for about as much as the rest
    for (std::size_t r = 0; r < kBlockRows; ++r)
      bounds[b * 3 * kBlockRows + r] = random_.symmetric() / (4096.0f * std::sqrt(1.0f * groups));

  if (random_.below(4) == 0) {
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    const float damage[] = {kNan, -kNan, kInfinity, -kInfinity};
    for (std::size_t i = 0; i < 4 * count; ++i)
      bounds[random_.below(count * 3 * kBlockRows)] = damage[random_.below(4)];
  }

  ScanQuery queries[kTileQueries];
  double largest[kTileQueries][kTileBlocks][kBlockRows];
  double exact[kTileQueries][kTileBlocks][kBlockRows];
  for (std::size_t q = 0; q < n_queries; ++q) {
    queries[q] = {128 * sums[q], factor(), factor(), 0.0f};
    float reached[kTileBlocks][kBlockRows];
    for (std::size_t b = 0; b < count; ++b) {
      const float* of = bounds + b * 3 * kBlockRows;
      for (std::size_t r = 0; r < kBlockRows; ++r) {
        std::int32_t dot = 0;
        for (std::size_t g = 0; g < groups; ++g) {
          std::int8_t codes[kGroup];
          std::memcpy(codes, packed + g * n_queries + q, sizeof codes);
          for (std::size_t i = 0; i < kGroup; ++i)
            dot += (blocks[((b * groups + g) * kBlockRows + r) * kGroup + i] - 128) * codes[i];
        }
        const float product = static_cast<float>(dot) * of[r];
        const float residual = queries[q].residual_factor * of[kBlockRows + r];
        const float rest = queries[q].rest_factor * of[2 * kBlockRows + r];
        reached[b][r] = product + residual + rest;
        exact[q][b][r] = static_cast<double>(dot) * of[r] +
                         static_cast<double>(queries[q].residual_factor) * of[kBlockRows + r] +
                         static_cast<double>(queries[q].rest_factor) * of[2 * kBlockRows + r];
        largest[q][b][r] = std::max(std::fabs(product), std::max(residual, rest));
      }
    }
    float chosen = reached[random_.below(count)][random_.below(kBlockRows)];
    if (std::isnan(chosen)) chosen = 0.0f;
    switch (random_.below(8)) {
      case 0: queries[q].threshold = -kInfinity; break;
      case 1: queries[q].threshold = kInfinity; break;
      case 2: queries[q].threshold = std::nextafter(chosen, kInfinity); break;
      default: queries[q].threshold = chosen;
    }
  }

  std::uint64_t expected[kTileQueries];
  portable_path()->scan(blocks, bounds, count, groups, packed, queries, n_queries, expected);
  for (Tally& tally : tallies) {
    if (n_queries >= kManyQueries && most > tally.path->most_code) continue;
    const Masks masks = masks_of(tally, "scan", n_queries, [&](std::uint64_t* written) {
      tally.path->scan(blocks, bounds, count, groups, packed, queries, n_queries, written);
    });
    for (std::size_t q = 0; q < n_queries; ++q) {
      const double threshold = queries[q].threshold;
      for (std::size_t b = 0; b < kTileBlocks; ++b) {
        for (std::size_t r = 0; r < kBlockRows; ++r) {
          const bool same = ((masks[q] ^ expected[q]) >> (b * kBlockRows + r) & 1) == 0;
          if (b >= count) {
            expect(tally, same, "scan, query %zu of %zu: a row of block %zu of %zu", q, n_queries, b,
                   count);
            continue;
          }
          if (!std::isfinite(exact[q][b][r])) {
            expect(tally, masks[q] >> (b * kBlockRows + r) & 1,
                   "scan, query %zu of %zu: a damaged row is hidden, its bound %g", q, n_queries,
                   exact[q][b][r]);
            continue;
          }
          const double margin = 1e-5 * std::max(largest[q][b][r], std::fabs(threshold));
          if (!exact_products && std::fabs(exact[q][b][r] - threshold) <= margin) continue;
          expect(tally, same,
                 "scan, %zu groups, query %zu of %zu, block %zu of %zu, row %zu, codes of kind %zu: "
                 "bound %.9g, threshold %.9g",
                 groups, q, n_queries, b, count, r, kind, exact[q][b][r], threshold);
        }
      }
    }
  }
}

void check_scans(std::vector<Tally>& tallies) {
  std::vector<std::size_t> sizes(100);
  std::iota(sizes.begin(), sizes.end(), std::size_t{1});
  sizes.insert(sizes.end(), {127, 128, 192, 255, 256, 1023, 1024});
  std::size_t kind = 0;
  for (const std::size_t groups : sizes)
    for (std::size_t n_queries = 1; n_queries <= kTileQueries; ++n_queries)
      for (std::size_t count = 1; count <= kTileBlocks; ++count)
        for (const bool exact_products : {true, false})
          check_scan(tallies, groups, count, n_queries, kind++ % 3, exact_products);
}

// What counts bytes must not overflow: kind 1 makes every bit differ.
void check_hamming(std::vector<Tally>& tallies, std::size_t words, std::size_t count,
                   std::size_t n_queries, std::size_t kind) {
  static const Fenced<std::uint64_t> block_room(kHammingBlocks * 64 * kHammingRows);
  static const Fenced<std::uint64_t> query_room(kTileQueries * 64);
  const std::size_t places = count * words * kHammingRows;
  std::uint64_t* blocks = block_room.last(places);
  for (std::size_t i = 0; i < places; ++i) blocks[i] = kind == 1 ? ~0ull : random_.bits();
  std::uint64_t* codes = query_room.last(n_queries * words);
  for (std::size_t i = 0; i < n_queries * words; ++i) codes[i] = kind == 1 ? 0 : random_.bits();
  const std::uint64_t* queries[kTileQueries];
  for (std::size_t q = 0; q < n_queries; ++q) queries[q] = codes + q * words;

  std::uint32_t thresholds[kTileQueries] = {};
  std::uint64_t expected_masks[kTileQueries];
  std::uint32_t expected[kTileQueries][kHammingBlocks * kHammingRows];
  const Path& portable = *portable_path();
  portable.hamming(blocks, count, words, queries, thresholds, n_queries, expected_masks, expected);
  for (std::size_t q = 0; q < n_queries; ++q) {
    const std::uint32_t reached = expected[q][random_.below(count * kHammingRows)];
    const std::uint32_t last = static_cast<std::uint32_t>(words * 64 + 1);
    const std::uint32_t choices[] = {0, reached, reached, reached + 1, last};
    thresholds[q] = choices[random_.below(5)];
  }
  portable.hamming(blocks, count, words, queries, thresholds, n_queries, expected_masks, expected);
  for (Tally& tally : tallies) {
    std::uint64_t masks[kTileQueries];
    std::uint32_t distances[kTileQueries][kHammingBlocks * kHammingRows] = {};
    tally.path->hamming(blocks, count, words, queries, thresholds, n_queries, masks, distances);
    for (std::size_t q = 0; q < n_queries; ++q) {
      expect(tally, masks[q] == expected_masks[q],
             "hamming, %zu words, query %zu of %zu, %zu blocks: rows %llx instead of %llx", words, q,
             n_queries, count, static_cast<unsigned long long>(masks[q]),
             static_cast<unsigned long long>(expected_masks[q]));
      for (std::size_t i = 0; i < count * kHammingRows; ++i)
        if (expected_masks[q] >> (i / kHammingRows * kHammingRows) & 0xff)
          expect(tally, distances[q][i] == expected[q][i],
                 "hamming, %zu words, query %zu of %zu, row %zu: %u instead of %u", words, q,
                 n_queries, i, distances[q][i], expected[q][i]);
    }
  }
}

void check_hammings(std::vector<Tally>& tallies) {
  for (std::size_t words = 1; words <= 40; ++words)
    for (std::size_t n_queries = 1; n_queries <= kTileQueries; ++n_queries)
      for (std::size_t count = 1; count <= kHammingBlocks; ++count)
        check_hamming(tallies, words, count, n_queries, count % 3);
  for (std::size_t kind = 0; kind < 2; ++kind)
    check_hamming(tallies, 64, kHammingBlocks, kTileQueries, kind);  // 4,096 dimensions
}

std::vector<std::size_t> dimensions() {
  std::vector<std::size_t> sizes(300);
  std::iota(sizes.begin(), sizes.end(), std::size_t{1});
  sizes.insert(sizes.end(), {384, 1024, 4096});
  return sizes;
}

// Returns their sum.
std::int32_t fill(std::int8_t* codes, std::size_t count, std::size_t kind) {
  std::int32_t sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    codes[i] = static_cast<std::int8_t>(random_.code(kind));
    sum += codes[i];
  }
  return sum;
}

void check_int8_dots(std::vector<Tally>& tallies) {
  const Fenced<std::int8_t> left_room(4096), right_room(4096);
  for (const std::size_t d : dimensions()) {
    for (std::size_t kind = 0; kind < 6; ++kind) {
      std::int8_t* left = left_room.last(d);
      std::int8_t* right = right_room.last(d);
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < d; ++i) {
        left[i] = static_cast<std::int8_t>(random_.code(kind % 3));
        right[i] = static_cast<std::int8_t>(random_.code(kind % 3));
        if (kind == 5) right[i] = static_cast<std::int8_t>(-right[i]);
        sum += right[i];
      }
      const std::int32_t expected = portable_path()->int8_dot(left, right, d, sum);
      for (Tally& tally : tallies) {
        const std::int32_t found = tally.path->int8_dot(left, right, d, sum);
        expect(tally, found == expected, "int8_dot, d = %zu, codes of kind %zu: %d instead of %d",
               d, kind, found, expected);
      }
    }
  }
}

void check_int8_dots_of_rows(std::vector<Tally>& tallies) {
  const Fenced<std::int8_t> row_room(kDots * 4096), query_room(4096);
  for (const std::size_t d : dimensions())
    for (std::size_t kind = 0; kind < 3; ++kind) {
      std::int8_t* codes = row_room.last(kDots * d);
      std::int8_t* query = query_room.last(d);
      fill(codes, kDots * d, kind);
      const std::int32_t sum = fill(query, d, kind);
      const std::int8_t* rows[kDots];  // in any order, some twice
      for (auto& row : rows) row = codes + random_.below(kDots) * d;
      for (Tally& tally : tallies) {
        std::int32_t found[kDots];
        tally.path->int8_dots(rows, query, d, sum, found);
        for (std::size_t i = 0; i < kDots; ++i) {
          const std::int32_t expected = portable_path()->int8_dot(rows[i], query, d, sum);
          expect(tally, found[i] == expected, "int8_dots, d = %zu, row %zu, codes of kind %zu: %d instead of %d", d, i,
                 kind, found[i], expected);
        }
      }
    }
}

// Rows against a tile of queries, with a threshold at one of the bounds. What is nearer to it than rounding can move
// it is left out of the comparison; damaged rows, rows whose dot is 0 and impossible bounds must pass.
void check_sieve(std::vector<Tally>& tallies, std::size_t d, std::size_t count, std::size_t n_queries,
                 std::size_t kind) {
  static const Fenced<std::int8_t> row_room(kSieveRows * 4096), query_room(kTileQueries * 4096);
  static const Fenced<float> scale_room(kSieveRows), residual_room(kSieveRows);
  std::int8_t* rows = row_room.last(count * d);
  std::int8_t* codes = query_room.last(n_queries * d);
  float* scale = scale_room.last(count);
  float* residual = residual_room.last(count);
  fill(rows, count * d, kind);
  for (std::size_t r = 0; r < count; ++r) {
    scale[r] = (0.5f + 0.5f * std::fabs(random_.symmetric())) / (4096.0f * std::sqrt(static_cast<float>(d)));
    residual[r] = std::fabs(random_.symmetric());
  }
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  const float damage[] = {kNan, -kNan, kInfinity, -kInfinity, 0.0f, -0.001f};
  if (random_.below(2)) {
    scale[random_.below(count)] = damage[random_.below(6)];
    residual[random_.below(count)] = damage[random_.below(4)];
    std::fill_n(rows + random_.below(count) * d, d, std::int8_t{0});
  }
  SieveQuery queries[kTileQueries];
  double bounds[kTileQueries][kSieveRows];
  std::int32_t dots[kTileQueries][kSieveRows];
  for (std::size_t q = 0; q < n_queries; ++q) {
    const std::int32_t sum = fill(codes + q * d, d, kind);
    queries[q] = {codes + q * d, sum, std::fabs(random_.symmetric()), 0.0f, 0.0f};
    for (std::size_t r = 0; r < count; ++r) {
      dots[q][r] = portable_path()->int8_dot(rows + r * d, codes + q * d, d, sum);
      bounds[q][r] = static_cast<double>(dots[q][r]) * scale[r] +
                     static_cast<double>(queries[q].residual_factor) * residual[r];
    }
    const auto any_bound = [&] {
      const float chosen = static_cast<float>(bounds[q][random_.below(count)]);
      return std::isnan(chosen) ? 0.0f : chosen;
    };
    queries[q].threshold = random_.below(8) ? any_bound() : random_.below(2) ? kInfinity : -kInfinity;
    queries[q].least = random_.below(2) ? any_bound() : -1e6f;
  }
  for (Tally& tally : tallies) {
    const Masks masks = masks_of(tally, "sieve", n_queries, [&](std::uint64_t* written) {
      tally.path->sieve(rows, scale, residual, count, d, queries, n_queries, written);
    });
    for (std::size_t q = 0; q < n_queries; ++q) {
      expect(tally, count == kSieveRows || masks[q] >> count == 0, "sieve, %zu rows, query %zu: a row behind them", count, q);
      for (std::size_t r = 0; r < count; ++r) {
        const double bound = bounds[q][r];
        const bool damaged = !(scale[r] > 0.0f) || dots[q][r] == 0 || !std::isfinite(bound);
        const auto near = [&](float limit) { return std::fabs(bound - limit) <= 1e-5 * std::max(1.0, std::fabs(bound)); };
        if (!damaged && (near(queries[q].threshold) || near(queries[q].least))) continue;
        const bool expected = damaged || !(bound < queries[q].threshold && bound > queries[q].least);
        expect(tally, (masks[q] >> r & 1) == expected,
               "sieve, d = %zu, row %zu of %zu, query %zu of %zu: bound %.9g, threshold %.9g, least %.9g, scale %g", d, r,
               count, q, n_queries, bound, queries[q].threshold, queries[q].least, scale[r]);
      }
    }
  }
}

void check_sieves(std::vector<Tally>& tallies) {
  std::size_t kind = 0;
  for (std::size_t count = 1; count <= kSieveRows; ++count)
    for (std::size_t n_queries = 1; n_queries <= kTileQueries; ++n_queries)
      for (const std::size_t d : {1, 2, 31, 32, 33, 63, 64, 65, 100, 384})
        check_sieve(tallies, d, count, n_queries, kind++ % 3);
  check_sieve(tallies, 4096, kSieveRows, kTileQueries, 2);
}

// Numbers of like size, of all sizes, tiny ones with no normal square in float32, and some that are
// not finite.
float component(std::size_t kind) {
  if (kind == 0) return random_.any();
  if (kind == 1) return std::ldexp(random_.symmetric(), static_cast<int>(random_.below(250)) - 125);
  if (kind == 2) return std::ldexp(random_.symmetric(), -140);
  const float special[] = {0.0f, -0.0f, std::numeric_limits<float>::max(), kInfinity, -kInfinity,
                           std::numeric_limits<float>::quiet_NaN()};
  const std::size_t chosen = random_.below(200);
  return chosen < 6 ? special[chosen] : random_.any();
}

void check_lane_dots(std::vector<Tally>& tallies) {
  const Fenced<float> row_room(4096), query_room(4096);
  const Fenced<double> wide_room(4096);
  for (const std::size_t d : dimensions()) {
    for (std::size_t kind = 0; kind < 4; ++kind) {
      float* row = row_room.last(d);
      float* query = query_room.last(d);
      for (std::size_t i = 0; i < d; ++i) row[i] = component(kind), query[i] = component(kind);
      const std::vector<double> numbers(query, query + d);
      double* wide = wide_room.last(d);
      std::copy(numbers.begin(), numbers.end(), wide);
      double expected[2];
      portable_path()->lane_dots(row, wide, d, &expected[0], &expected[1]);
      for (Tally& tally : tallies) {
        double found[2], alone;
        tally.path->lane_dots(row, wide, d, &found[0], &found[1]);
        tally.path->lane_dots(row, wide, d, &alone, nullptr);
        for (int i = 0; i < 2; ++i)
          expect(tally, same_bits(found[i], expected[i]),
                 "lane_dots, d = %zu, numbers of kind %zu, %s: %a instead of %a", d, kind,
                 i ? "row by row" : "row by query", found[i], expected[i]);
        expect(tally, same_bits(alone, expected[0]),
               "lane_dots without the row's squares, d = %zu, numbers of kind %zu: %a instead of %a", d,
               kind, alone, expected[0]);
      }
    }
  }
}

void check_lane_products(std::vector<Tally>& tallies) {
  const Fenced<float> row_room(4096);
  const Fenced<double> query_room(kDots * 4096);
  for (const std::size_t d : dimensions())
    for (std::size_t kind = 0; kind < 4; ++kind) {
      float* row = row_room.last(d);
      double* queries = query_room.last(kDots * d);
      for (std::size_t i = 0; i < d; ++i) row[i] = component(kind);
      for (std::size_t i = 0; i < kDots * d; ++i) queries[i] = component(kind);
      for (Tally& tally : tallies) {
        double found[kDots];
        tally.path->lane_products(row, queries, d, found);
        for (std::size_t i = 0; i < kDots; ++i) {
          double expected;
          portable_path()->lane_dots(row, queries + i * d, d, &expected, nullptr);
          expect(tally, same_bits(found[i], expected),
                 "lane_products, d = %zu, query %zu, numbers of kind %zu: %a instead of %a", d, i, kind, found[i],
                 expected);
        }
      }
    }
}

// Sketches of one line to three, of rows in any order, against queries of all components.
void check_sifts(std::vector<Tally>& tallies) {
  constexpr std::size_t kRows = 40;
  const Fenced<std::uint64_t> sketch_room(kRows * 3 * kSketchWords), plane_room(3 * kSketchPlanes * kSketchWords);
  for (std::size_t lines = 1; lines <= 3; ++lines)
    for (std::size_t kind = 0; kind < 24; ++kind) {
      std::uint64_t* sketches = sketch_room.last(kRows * lines * kSketchWords);
      std::uint64_t* planes = plane_room.last(lines * kSketchPlanes * kSketchWords);
      for (std::size_t i = 0; i < kRows * lines * kSketchWords; ++i) sketches[i] = random_.bits();
      for (std::size_t i = 0; i < lines * kSketchPlanes * kSketchWords; ++i)
        planes[i] = kind % 3 ? random_.bits() : ~std::uint64_t{0};
      for (std::size_t plane = 0; plane < kSketchPlanes; ++plane)  // where the factor is
        planes[((lines - 1) * kSketchPlanes + plane) * kSketchWords + kSketchWords - 1] &= 0xffffffffu;
      for (std::size_t row = 0; row < kRows; ++row) {
        const float factor = component(kind % 4);
        std::memcpy(reinterpret_cast<char*>(sketches + (row + 1) * lines * kSketchWords) - sizeof factor, &factor,
                    sizeof factor);
      }
      std::uint32_t rows[kRows];
      const std::size_t count = kind ? 1 + random_.below(kRows) : 0;
      for (std::size_t i = 0; i < count; ++i) rows[i] = static_cast<std::uint32_t>(random_.below(kRows));
      const SketchQuery query = {planes, lines, static_cast<std::int32_t>(random_.below(4000)) - 2000,
                                 kind % 2 ? -kInfinity : component(0)};
      std::uint32_t expected_rows[kRows], found_rows[kRows];
      float expected[kRows], found[kRows];
      const std::size_t passed = portable_path()->sift(sketches, rows, count, query, expected_rows, expected);
      for (Tally& tally : tallies) {
        const std::size_t some = tally.path->sift(sketches, rows, count, query, found_rows, found);
        expect(tally, some == passed, "sift, %zu lines, kind %zu: %zu passed instead of %zu", lines, kind, some,
               passed);
        for (std::size_t i = 0; i < std::min(some, passed); ++i)
          expect(tally, found_rows[i] == expected_rows[i] && same_bits(found[i], expected[i]),
                 "sift, %zu lines, kind %zu: row %u at %a instead of row %u at %a", lines, kind, found_rows[i],
                 static_cast<double>(found[i]), expected_rows[i], static_cast<double>(expected[i]));
      }
    }
}

}  // namespace
