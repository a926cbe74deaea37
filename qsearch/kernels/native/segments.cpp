// A certified search from queries as they came, over segment after segment.
#include <algorithm>
#include <vector>

#include "clock.hpp"
#include "search.hpp"

namespace qsearch {

std::ptrdiff_t search_segments(const Path& path, std::vector<CodedSegment>& segments,
                               const std::vector<Rotation>& rotations, const Margins& margins,
                               const float* queries, std::size_t count, std::size_t k, std::size_t before,
                               float* scores, std::int64_t* positions, const Looked& looked, std::int64_t* spent,
                               std::size_t threads, Watch* watch) {
  if (segments.empty()) return -1;
  const std::size_t d = segments[0].rows.d;
  auto started = Clock::now();
  const auto prepared = [&] {
    spent[0] += nanoseconds(Clock::now() - started);
  };
  std::vector<float> units(count * d);
  normalize(path, queries, count, d, units.data());
  std::vector<std::int8_t> codes(count * d), head_codes;
  std::vector<Interval> intervals(count), head_intervals(count);
  code_rows(units.data(), count, d, 127, margins, codes.data(), intervals.data());
  prepared();
  std::vector<Counts> counts(count, Counts{});
  const Rotation* turned = nullptr;  // the codes are along one rotation at a time, so that memory is bounded
  std::ptrdiff_t damaged = -1;
  for (std::size_t i = 0; i < segments.size() && damaged < 0 && !stop(watch); ++i) {
    Rows& rows = segments[i].rows;
    if (!rows.mask.allowed) continue;
    const Rotation& rotation = rotations[segments[i].rotation];
    if (turned != &rotation) {
      started = Clock::now();
      head_codes.resize(count * rows.head);
      code_projections(path, units.data(), count, d, rotation, rows.head, most_code(path, count),
                       head_codes.data(), head_intervals.data(), threads);
      turned = &rotation;
      prepared();
    }
    rows.before = before;
    const Queries given = {count,        queries,          head_codes.data(), head_intervals.data(),
                           codes.data(), intervals.data()};
    if (!certified_top_k(path, rows, given, k, std::min(before, k), scores, positions, counts.data(), threads,
                         watch))
      damaged = static_cast<std::ptrdiff_t>(i);
    before += rows.mask.allowed;
  }
  const auto add = [](std::int64_t& rows, std::int64_t& bytes, std::int64_t more, std::size_t row_bytes) {
    rows += more;
    bytes += more * static_cast<std::int64_t>(row_bytes);
  };
  for (std::size_t q = 0; q < count; ++q) {
    add(looked.reached[q], looked.reached_bytes[q], counts[q].reached, d + 2 * sizeof(float));
    add(looked.rescored[q], looked.rescored_bytes[q], counts[q].rescored, d * sizeof(float));
    spent[1] += counts[q].scanning;
    spent[2] += counts[q].refining;
    spent[3] += counts[q].scoring;
  }
  return damaged;
}

}  // namespace qsearch
