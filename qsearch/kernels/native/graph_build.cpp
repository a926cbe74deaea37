// The links of a graph. Rows are added in rounds: those of a round search the graph as it was before, all at the same
// time, and then link to what they found, and are linked to. So the links depend on the rows alone.
//
// Which of its near rows a row links to: the nearest, and then each that is not clearly nearer to one of those before
// it (Subramanya et al., DiskANN, 2019; its alpha). Rounds: Dobson et al., "Scaling Graph-Based ANNS", 2023.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <numeric>

#include "graph.hpp"
#include "pool.hpp"
#include "selection.hpp"

namespace qsearch {
namespace {

constexpr float kAlpha = 1.1f;
constexpr std::size_t kFirst = 512;      // rows of the first round, which see each other
constexpr std::size_t kLeastRound = 64;
constexpr std::size_t kMostRound = 4096;
constexpr std::size_t kGrowth = 8;       // a round has an eighth of the rows before it at most

std::uint64_t mixed(std::uint64_t x) {  // splitmix64 (Steele et al., 2014)
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

std::uint32_t* aligned(std::size_t count) {
  constexpr std::size_t kLine = 64;
  void* found = std::aligned_alloc(kLine, (count * sizeof(std::uint32_t) + kLine - 1) / kLine * kLine);
  if (!found) throw std::bad_alloc();
  return static_cast<std::uint32_t*>(found);
}

}  // namespace

GraphBuilder::GraphBuilder(const Path& path, const GraphRows& rows, std::size_t degree, std::size_t width,
                           std::size_t threads)
    : path_(path), rows_(rows), degree_(degree), width_(width), threads_(std::max<std::size_t>(1, threads)),
      room_(degree + (degree + 3) / 4), starts_(start_rows(rows.n)), order_(rows.n), links_(aligned(rows.n * room_), std::free), sums_(rows.n) {
  std::fill_n(links_.get(), rows.n * room_, kNoRow);
  // The starts first, the others behind them in an order without meaning.
  const std::size_t starts = starts_.size();
  std::vector<bool> is_start(rows.n);
  for (std::size_t i = 0; i < starts; ++i) is_start[order_[i] = starts_[i]] = true;
  std::size_t at = starts;
  for (std::size_t row = 0; row < rows.n; ++row)
    if (!is_start[row]) order_[at++] = static_cast<std::uint32_t>(row);
  for (std::size_t i = rows.n; i > starts + 1; --i)
    std::swap(order_[i - 1], order_[starts + mixed(i) % (i - starts)]);
  in_parallel(threads_, [&](std::size_t part) {
    const std::size_t end = share(rows.n, threads_, part + 1);
    for (std::size_t row = share(rows.n, threads_, part); row < end; ++row) {
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < rows.d; ++i) sum += rows.int8[row * rows.d + i];
      sums_[row] = sum;
    }
  });
}

// The cosine by the int8 codes.
float GraphBuilder::between(std::uint32_t a, std::uint32_t b) const {
  const std::int32_t dot = path_.int8_dot(rows_.int8 + std::size_t{a} * rows_.d,
                                          rows_.int8 + std::size_t{b} * rows_.d, rows_.d, sums_[b]);
  return rows_.scale[a] * rows_.scale[b] * static_cast<float>(dot);
}

std::size_t GraphBuilder::count(std::uint32_t row) const {
  const std::uint32_t* to = links_.get() + std::size_t{row} * room_;
  std::size_t have = 0;
  while (have < room_ && to[have] != kNoRow) ++have;
  return have;
}

// Adds the first links of a row.
void GraphBuilder::gather(std::uint32_t row, std::size_t have, std::vector<Near>& near) const {
  const std::uint32_t* to = links_.get() + std::size_t{row} * room_;
  for (std::size_t i = 0; i < have; ++i) near.push_back({between(row, to[i]), to[i]});
}

// Whether two rows are the same by their int8 codes, as equal texts are.
bool GraphBuilder::same(std::uint32_t a, std::uint32_t b) const {
  return rows_.scale[a] == rows_.scale[b] &&
         !std::memcmp(rows_.int8 + std::size_t{a} * rows_.d, rows_.int8 + std::size_t{b} * rows_.d, rows_.d);
}

// Leaves the links of a row, of all that may be some. Copies of it are none: they would take all places.
void GraphBuilder::prune(std::uint32_t row, std::vector<Near>& near, std::vector<Near>& kept) const {
  std::sort(near.begin(), near.end(), [](const Near& a, const Near& b) {
    return a.score > b.score || (a.score == b.score && a.row < b.row);
  });
  kept.clear();
  const float least = between(row, row) - 1e-5f;  // that of a copy, whatever the order of its factors
  for (const Near& one : near) {
    if (kept.size() == degree_) return;
    if (one.score >= least && same(row, one.row)) continue;
    const float away = 1.0f - one.score;  // half of the squared distance
    const bool behind = std::any_of(kept.begin(), kept.end(), [&](const Near& other) {
      return kAlpha * (1.0f - between(one.row, other.row)) < away;
    });
    if (!behind) kept.push_back(one);
  }
}

std::size_t GraphBuilder::step(Watch* watch) {
  if (done_ == rows_.n) return 0;
  const std::size_t some = done_ ? std::clamp(done_ / kGrowth, kLeastRound, kMostRound) : kFirst;
  const std::size_t last = std::min(rows_.n, done_ + some);
  std::vector<std::vector<Edge>> back(threads_);
  lead_on(done_, last, back, watch);
  std::vector<Edge> edges;
  for (const auto& part : back) edges.insert(edges.end(), part.begin(), part.end());
  lead_back(edges, watch);
  const std::size_t added = last - done_;
  done_ = last;
  return added;
}

// Links the rows [first, last) of the order to rows before them, and to each other in the first round.
void GraphBuilder::lead_on(std::size_t first, std::size_t last, std::vector<std::vector<Edge>>& back, Watch* watch) {
  const Links links = {links_.get(), room_};
  constexpr std::size_t kTogether = 16;
  std::atomic<std::size_t> next{first};
  in_parallel(threads_, [&](std::size_t part) {
    Beam beam;
    std::vector<Near> near, kept;
    for (std::size_t from; !stop(watch) && (from = next.fetch_add(kTogether)) < last;) {
      for (std::size_t i = from; i < std::min(from + kTogether, last); ++i) {
        const std::uint32_t row = order_[i];
        near.clear();
        if (first == 0) {
          for (std::size_t j = 0; j < last; ++j)
            if (j != i) near.push_back({between(row, order_[j]), order_[j]});
        } else {
          const std::int8_t* code = rows_.int8 + std::size_t{row} * rows_.d;
          for (const Found& one : beam.search(path_, rows_, links, starts_, code, width_))
            near.push_back({one.score() * rows_.scale[row], one.row()});
        }
        prune(row, near, kept);
        std::uint32_t* to = links_.get() + std::size_t{row} * room_;
        for (std::size_t j = 0; j < kept.size(); ++j) {
          to[j] = kept[j].row;
          back[part].push_back({kept[j].row, row});
        }
      }
    }
  }, watch);
}

// Links back: (row, row that links to it). What a row then has too much of is pruned.
void GraphBuilder::lead_back(std::vector<Edge>& edges, Watch* watch) {
  std::sort(edges.begin(), edges.end());
  const auto start = [&](std::size_t part) {  // all edges of a row are in one part
    std::size_t at = share(edges.size(), threads_, part);
    while (at && at < edges.size() && edges[at].first == edges[at - 1].first) ++at;
    return at;
  };
  in_parallel(threads_, [&](std::size_t part) {
    std::vector<Near> near, kept;
    const std::size_t end = start(part + 1);
    for (std::size_t i = start(part); i < end && !stop(watch);) {
      const std::uint32_t row = edges[i].first;
      std::uint32_t* to = links_.get() + std::size_t{row} * room_;
      const std::size_t before = count(row);
      std::size_t have = before;
      near.clear();
      for (; i < end && edges[i].first == row; ++i) {
        const std::uint32_t other = edges[i].second;
        if (std::find(to, to + before, other) != to + before) continue;  // rows of the first round link to each other
        if (have < room_) to[have] = other;
        else near.push_back({between(row, other), other});
        ++have;
      }
      if (near.empty()) continue;
      gather(row, room_, near);
      prune(row, near, kept);
      for (std::size_t j = 0; j < room_; ++j) to[j] = j < kept.size() ? kept[j].row : kNoRow;
    }
  }, watch);
}

void GraphBuilder::finish(std::uint32_t* links, Watch* watch) {
  in_parallel(threads_, [&](std::size_t part) {
    std::vector<Near> near, kept;
    const std::size_t end = share(rows_.n, threads_, part + 1);
    for (std::size_t i = share(rows_.n, threads_, part); i < end && !stop(watch); ++i) {
      const auto row = static_cast<std::uint32_t>(i);
      std::uint32_t* to = links + i * degree_;
      std::fill_n(to, degree_, kNoRow);
      const std::size_t have = count(row);
      if (have <= degree_) {
        std::copy_n(links_.get() + i * room_, have, to);
        continue;
      }
      near.clear();
      gather(row, have, near);
      prune(row, near, kept);
      for (std::size_t j = 0; j < kept.size(); ++j) to[j] = kept[j].row;
    }
  }, watch);
}

}  // namespace qsearch
