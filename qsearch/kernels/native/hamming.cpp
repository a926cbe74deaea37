// The nearest rows by Hamming distance of sign bits.
#include <algorithm>
#include <vector>

#include "pool.hpp"
#include "search.hpp"
#include "selection.hpp"

namespace qsearch {
namespace {

struct Near {
  std::uint32_t distance;
  std::uint32_t row;
};

// The rows of smallest distance seen so far, in the order of their rows.
class Nearest {
 public:
  Nearest(std::size_t count, std::size_t bits)
      : count_(count), room_(2 * count + 64), bits_(bits),
        limit_(static_cast<std::uint32_t>(bits + 1)), guess_(limit_), lowest_(limit_),
        histogram_(bits + 2) {
    found_.reserve(room_);
  }

  // What a further row must stay below. Beyond `limit_` it certainly is not among the nearest: a
  // later row of equal distance loses. Beyond `guess_` it most probably is not.
  std::uint32_t limit() const { return std::min(limit_, guess_); }

  // After a share of the rows, whose rank-th smallest distance is most probably not below that of
  // the last of the nearest (see safe_rank).
  void guess(std::size_t rank) {
    std::size_t within = 0;
    for (std::uint32_t distance = 0; distance < limit_; ++distance) {
      within += histogram_[distance];
      if (within >= rank) {
        guess_ = distance + 1;
        return;
      }
    }
  }

  void push(std::uint32_t distance, std::uint32_t row) {
    if (found_.size() == room_) compact();
    found_.push_back({distance, row});
    ++histogram_[distance];
    ++within_;  // rows of distance at most limit_
    while (within_ - histogram_[limit_] >= count_) within_ -= histogram_[limit_--];
  }

  // Called before rows are left out by limit().
  void use() { lowest_ = std::min(lowest_, guess_); }

  // Whether no row was left out that may be among the nearest.
  bool certain() const {
    std::size_t nearer = 0;
    for (std::uint32_t distance = 0; distance < lowest_; ++distance) nearer += histogram_[distance];
    return lowest_ > bits_ || nearer >= count_;
  }

  void clear() { *this = Nearest(count_, bits_); }

  // Keeps the `count` nearest, and sorts them by (distance, row) into `result`.
  std::size_t finish(Near* result) {
    compact();
    std::vector<std::size_t> start(histogram_.size() + 1);
    for (const Near& one : found_) ++start[one.distance + 1];
    for (std::size_t i = 1; i < start.size(); ++i) start[i] += start[i - 1];
    for (const Near& one : found_) result[start[one.distance]++] = one;
    return found_.size();
  }

 private:
  void compact() {
    std::size_t nearer = 0;
    for (std::uint32_t distance = 0; distance < limit_; ++distance) nearer += histogram_[distance];
    std::size_t ties = count_ > nearer ? count_ - nearer : 0;
    std::size_t kept = 0;
    for (const Near one : found_) {
      const bool stays = one.distance < limit_ || (one.distance == limit_ && ties > 0);
      if (!stays) {
        --histogram_[one.distance];
        if (one.distance == limit_) --within_;
        continue;
      }
      if (one.distance == limit_) --ties;
      found_[kept++] = one;
    }
    found_.resize(kept);
  }

  std::size_t count_;
  std::size_t room_;
  std::size_t bits_;
  std::uint32_t limit_;
  std::uint32_t guess_;
  std::uint32_t lowest_;
  std::size_t within_ = 0;
  std::vector<std::size_t> histogram_;
  std::vector<Near> found_;
};

constexpr std::size_t kHammingChunk = 512;  // blocks: 4,096 rows stay in the second cache

// Blocks [begin, end) of the segment.
void hamming_scan(const Path& path, const std::uint64_t* blocks, std::size_t n, std::size_t words,
                  const Mask& mask, const std::uint64_t* queries, std::size_t n_queries,
                  std::size_t count, std::size_t begin, std::size_t end, bool guess,
                  Nearest* nearest, Watch* watch) {
  const double there = static_cast<double>(mask.bits ? mask.allowed : n);
  std::size_t seen = 0;
  std::size_t length = kHammingBlocks;
  for (std::size_t chunk = begin; chunk < end;) {
    if (stop(watch)) return;
    const std::size_t chunk_end = std::min(end, chunk + length);
    const std::size_t here =
        mask.bits ? mask.count(chunk, chunk_end) : (chunk_end - chunk) * kHammingRows;
    if (!here) {
      chunk = chunk_end;
      continue;
    }
    if (guess && seen) {
      const std::size_t rank = safe_rank(count, static_cast<double>(seen) / there);
      for (std::size_t q = 0; q < n_queries; ++q) nearest[q].guess(rank);
    }
    for (std::size_t q = 0; q < n_queries; ++q) nearest[q].use();
    for (std::size_t query = 0; query < n_queries; query += kTileQueries) {
      const std::size_t tile = std::min(kTileQueries, n_queries - query);
      const std::uint64_t* codes[kTileQueries];
      std::uint32_t limits[kTileQueries];
      for (std::size_t q = 0; q < tile; ++q) codes[q] = queries + (query + q) * words;
      for (std::size_t block = chunk; block < chunk_end; block += kHammingBlocks) {
        const std::size_t some = std::min(kHammingBlocks, chunk_end - block);
        const std::uint64_t allowed = mask.bits ? mask.bytes(block, some) : ~std::uint64_t{0};
        if (!allowed) continue;
        for (std::size_t q = 0; q < tile; ++q) limits[q] = nearest[query + q].limit();
        std::uint64_t masks[kTileQueries];
        std::uint32_t distances[kTileQueries][kHammingBlocks * kHammingRows];
        path.hamming(blocks + block * words * kHammingRows, some, words, codes, limits, tile,
                     masks, distances);
        for (std::size_t q = 0; q < tile; ++q) {
          for (std::uint64_t left = masks[q] & allowed; left; left &= left - 1) {
            const std::size_t place = static_cast<std::size_t>(__builtin_ctzll(left));
            const std::size_t row = block * kHammingRows + place;
            if (row < n && distances[q][place] < nearest[query + q].limit())
              nearest[query + q].push(distances[q][place], static_cast<std::uint32_t>(row));
          }
        }
      }
    }
    seen += here;
    chunk = chunk_end;
    length = std::min(kHammingChunk, 2 * length);
  }
}

}  // namespace

void hamming_nearest(const Path& path, const std::uint64_t* blocks, std::size_t n,
                     std::size_t words, const Mask& mask, const std::uint64_t* queries,
                     std::size_t n_queries, std::size_t count, std::int64_t* result,
                     std::size_t threads, Watch* watch) {
  const std::size_t n_blocks = (n + kHammingRows - 1) / kHammingRows;
  const std::size_t bits = words * 64;
  if (threads <= 1 || n_queries >= 2 * threads) {
    const std::size_t parts = std::max<std::size_t>(1, std::min(threads, n_queries));
    in_parallel(parts, [&](std::size_t part) {
      const std::size_t first = share(n_queries, parts, part);
      const std::size_t last = share(n_queries, parts, part + 1);
      std::vector<Nearest> nearest(last - first, Nearest(count, bits));
      hamming_scan(path, blocks, n, words, mask, queries + first * words, last - first, count, 0,
                   n_blocks, true, nearest.data(), watch);
      if (watch && watch->stopped()) return;
      std::vector<Near> found(2 * count + 64);
      for (std::size_t q = first; q < last; ++q) {
        Nearest& mine = nearest[q - first];
        if (!mine.certain()) {
          mine.clear();
          hamming_scan(path, blocks, n, words, mask, queries + q * words, 1, count, 0, n_blocks,
                       false, &mine, watch);
          if (watch && watch->stopped()) return;
        }
        mine.finish(found.data());
        for (std::size_t i = 0; i < count; ++i) result[q * count + i] = found[i].row;
      }
    }, watch);
    return;
  }
  const std::size_t parts = std::max<std::size_t>(1, std::min(threads, n_blocks));
  std::vector<std::vector<Near>> found(parts * n_queries);
  in_parallel(parts, [&](std::size_t part) {
    // No guesses here: of its part of the rows each thread keeps as many as are wanted of all.
    std::vector<Nearest> nearest(n_queries, Nearest(count, bits));
    hamming_scan(path, blocks, n, words, mask, queries, n_queries, count,
                 share(n_blocks, parts, part), share(n_blocks, parts, part + 1), false,
                 nearest.data(), watch);
    if (watch && watch->stopped()) return;
    for (std::size_t q = 0; q < n_queries; ++q) {
      auto& mine = found[part * n_queries + q];
      mine.resize(2 * count + 64);
      mine.resize(nearest[q].finish(mine.data()));
    }
  }, watch);
  if (watch && watch->stopped()) return;
  for (std::size_t q = 0; q < n_queries; ++q) {
    std::vector<Near> merged;
    for (std::size_t part = 0; part < parts; ++part) {
      const auto& some = found[part * n_queries + q];
      const std::size_t before = merged.size();
      merged.insert(merged.end(), some.begin(), some.end());
      // Parts come in the order of their rows, so equal distances stay in that order.
      std::inplace_merge(merged.begin(), merged.begin() + static_cast<std::ptrdiff_t>(before),
                         merged.end(),
                         [](const Near& a, const Near& b) { return a.distance < b.distance; });
      if (merged.size() > count) merged.resize(count);
    }
    for (std::size_t i = 0; i < count; ++i) result[q * count + i] = merged[i].row;
  }
}

}  // namespace qsearch
