// A beam search in a graph: sketches say which rows are worth a look, int8 codes in which order to go on.
//
// A step costs what it brings from memory. A row that is met costs one line, its sketch; what that gives keeps it
// in the beam or not. Its int8 code, many lines, is read when it comes to the front of the beam, and asked for some
// steps before.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "graph.hpp"
#include "selection.hpp"

namespace qsearch {
namespace {

// What was done with a row of the beam: asked for, scored by its int8 code, gone on from.
constexpr std::uint8_t kFetched = 1, kRefined = 2, kLeft = 4;

constexpr std::size_t kAhead = 3;  // rows whose links and codes are on their way
constexpr std::int32_t kMostComponent = 15;

// The order of the keys is that of the scores; a score that is no number is as good as some number.
std::uint64_t key_of(float score, std::uint32_t row) {
  std::int32_t bits;
  score += 0.0f;  // -0 is 0
  std::memcpy(&bits, &score, sizeof bits);
  const auto rising = static_cast<std::uint32_t>(bits ^ (bits >> 31 & 0x7fffffff)) ^ 0x80000000u;
  return std::uint64_t{rising} << 32 | static_cast<std::uint32_t>(~row);
}

float score_of(std::uint64_t key) {
  const auto rising = static_cast<std::int32_t>(static_cast<std::uint32_t>(key >> 32) ^ 0x80000000u);
  const std::int32_t bits = rising ^ (rising >> 31 & 0x7fffffff);
  float score;
  std::memcpy(&score, &bits, sizeof score);
  return score;
}

std::uint32_t row_of(std::uint64_t key) { return ~static_cast<std::uint32_t>(key); }

// Brings a line by a load that nothing waits for. Of prefetches a processor drops some while as many lines as it can
// wait for are on their way (Zen 4: of 24 at once one in eight), of loads none.
void bring(const void* line) { *static_cast<const volatile char*>(line); }

}  // namespace

std::vector<std::uint32_t> start_rows(std::size_t n) {
  std::vector<std::uint32_t> rows(std::min(n, kMostStarts));
  for (std::size_t i = 0; i < rows.size(); ++i)
    rows[i] = static_cast<std::uint32_t>((2 * i + 1) * n / (2 * rows.size()));
  return rows;
}

float Found::score() const { return score_of(key); }

// Signs of a row less the center say what its product with the query is, but for the part along the center, which
// is known. The query is made coarse for it: whole numbers from -15 to 15, times `unit_`.
void Beam::prepare() {
  const std::size_t d = rows_.d;
  std::int32_t most = 1;
  sum_ = 0;
  wide_.resize(d);
  for (std::size_t i = 0; i < d; ++i) {
    most = std::max<std::int32_t>(most, std::abs(query_[i]));
    sum_ += query_[i];
    wide_[i] = query_[i];
  }
  double around;
  path_->lane_dots(rows_.center, wide_.data(), d, &around, nullptr);
  around_ = static_cast<float>(around);
  unit_ = static_cast<float>(most) / static_cast<float>(kMostComponent);
  planes_.assign(rows_.lines * kSketchPlanes * kSketchWords, 0);
  const std::size_t bits = std::min(d, rows_.lines * kSketchWords * 64 - 32);
  std::int32_t total = 0;
  for (std::size_t i = 0; i < bits; ++i) {
    const std::int32_t size = (2 * kMostComponent * std::abs(query_[i]) + most) / (2 * most);  // to the nearest
    const std::int32_t component = query_[i] < 0 ? -size : size;
    total += component;
    std::uint64_t* word = planes_.data() + i / 512 * (kSketchPlanes * kSketchWords) + i / 64 % kSketchWords;
    for (std::size_t plane = 0; plane < kSketchPlanes; ++plane)
      word[plane * kSketchWords] |= static_cast<std::uint64_t>(component >> plane & 1) << (i % 64);
  }
  sketch_ = {planes_.data(), rows_.lines, total, kNone};
}

// Where a key belongs in the beam. Without a branch, which nobody could foretell.
std::size_t Beam::place(std::uint64_t key) const {
  const std::uint64_t* const keys = keys_.data();
  std::size_t at = 0, length = count_;
  while (length > 0) {
    const std::size_t half = length / 2;
    const bool better = keys[at + half] > key;
    at = better ? at + half + 1 : at;
    length = better ? length - half - 1 : half;
  }
  return at;
}

// Puts a row at `to`; it was at `from`, or that place is free.
void Beam::move(std::size_t from, std::size_t to, std::uint64_t key, std::uint8_t done) {
  const std::size_t low = std::min(from, to), length = std::max(from, to) - low;
  const std::size_t source = from < to ? low + 1 : low, target = from < to ? low : low + 1;
  std::memmove(keys_.data() + target, keys_.data() + source, length * sizeof(std::uint64_t));
  std::memmove(done_.data() + target, done_.data() + source, length);
  keys_[to] = key;
  done_[to] = done;
}

void Beam::fetch(std::uint32_t row) const {
  const std::int8_t* code = rows_.int8 + std::size_t{row} * rows_.d;
  for (std::size_t i = 0; i < rows_.d; i += 64) __builtin_prefetch(code + i);
  __builtin_prefetch(rows_.scale + row);
  const std::uint32_t* to = links_.of + std::size_t{row} * links_.degree;
  for (std::size_t i = 0; i < links_.degree; i += 16) bring(to + i);
}

// Notes those of some rows that were not met before.
void Beam::meet(const std::uint32_t* rows, std::size_t count) {
  std::uint64_t* const seen = seen_.data();
  if (all_.size() < n_met_ + count) all_.resize(2 * (n_met_ + count));
  std::uint32_t* const some = all_.data() + n_met_;
  std::size_t found = 0;
  for (std::size_t i = 0; i < count && rows[i] < rows_.n; ++i) {  // a damaged link ends the list
    const std::uint32_t row = rows[i];
    std::uint64_t& word = seen[row >> 6];
    const std::uint64_t before = word;
    word = before | std::uint64_t{1} << (row & 63);
    some[found] = row;
    found += ~(before >> (row & 63)) & 1;
  }
  for (std::size_t i = 0; i < found; ++i)
    for (std::size_t line = 0; line < rows_.lines; ++line)
      bring(rows_.sketches + (std::size_t{some[i]} * rows_.lines + line) * kSketchWords);
  n_met_ += found;
}

// Takes those that were met into the beam, by their sketches.
void Beam::absorb() {
  const std::size_t count = n_met_ - absorbed_;
  passed_.resize(std::max(passed_.size(), count));
  estimates_.resize(passed_.size());
  sketch_.least = kNone;
  if (count_ == width_) {
    // A little less, for what rounding may hide: the keys decide.
    const float last = score_of(keys_[count_ - 1]);
    sketch_.least = (last - around_ - 1e-6f * (std::fabs(last) + std::fabs(around_))) / unit_;
  }
  const std::size_t found =
      path_->sift(rows_.sketches, all_.data() + absorbed_, count, sketch_, passed_.data(), estimates_.data());
  for (std::size_t i = 0; i < found; ++i) {
    const std::uint64_t key = key_of(estimates_[i] * unit_ + around_, passed_[i]);
    if (count_ == width_ && key < keys_[count_ - 1]) continue;
    const std::size_t at = place(key);
    if (count_ < width_) ++count_;
    move(count_ - 1, at, key, 0);
    cursor_ = std::min(cursor_, at);
  }
  absorbed_ = n_met_;
}

// The place of the best row by its int8 code that the search has not gone on from; count_ where it has from all.
std::size_t Beam::next() {
  while (true) {
    while (cursor_ < count_ && done_[cursor_] & kLeft) ++cursor_;
    if (cursor_ == count_) return count_;
    std::size_t ahead = 0;
    for (std::size_t i = cursor_; i < count_ && ahead < kAhead; ++i) {
      if (done_[i] & kLeft) continue;
      ++ahead;
      if (done_[i] & kFetched) continue;
      fetch(row_of(keys_[i]));
      done_[i] |= kFetched;
    }
    if (done_[cursor_] & kRefined) return cursor_;
    const std::uint32_t row = row_of(keys_[cursor_]);
    const std::int32_t dot = path_->int8_dot(rows_.int8 + std::size_t{row} * rows_.d, query_, rows_.d, sum_);
    const std::uint64_t key = key_of(rows_.scale[row] * static_cast<float>(dot), row);
    ++refined_;
    std::size_t to = cursor_;
    if (key < keys_[cursor_])
      while (to + 1 < count_ && keys_[to + 1] > key) ++to;
    else
      while (to > 0 && keys_[to - 1] < key) --to;
    move(cursor_, to, key, static_cast<std::uint8_t>(done_[cursor_] | kRefined));
    cursor_ = std::min(cursor_, to);
  }
}

const std::vector<Found>& Beam::search(const Path& path, const GraphRows& rows, const Links& links,
                                       const std::vector<std::uint32_t>& starts, const std::int8_t* query,
                                       std::size_t width) {
  // What the search before has met; here, so that it is done too where that one was not finished.
  for (std::size_t i = 0; i < n_met_; ++i) seen_[all_[i] >> 6] = 0;
  path_ = &path;
  rows_ = rows;
  links_ = links;
  query_ = query;
  width_ = width;
  seen_.resize(std::max(seen_.size(), (rows.n + 63) / 64));
  keys_.resize(std::max(keys_.size(), width));
  done_.resize(keys_.size());
  n_met_ = absorbed_ = count_ = cursor_ = refined_ = 0;
  prepare();
  meet(starts.data(), starts.size());
  absorb();
  for (std::size_t at; (at = next()) < count_;) {
    done_[at] |= kLeft;
    meet(links.of + std::size_t{row_of(keys_[at])} * links.degree, links.degree);
    absorb();
  }
  found_.clear();
  for (std::size_t i = 0; i < count_; ++i) found_.push_back({keys_[i]});
  return found_;
}

}  // namespace qsearch
