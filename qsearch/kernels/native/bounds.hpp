// Everything that rounds in the certified search, each to the safe side. docs/exactness.md has the
// reasons, and tests/retrieval/test_proof.py holds every function to exact arithmetic: nothing in the search may
// round a bound elsewhere. What float64 hides here is below 2^-50; the slack for unit vectors covers it.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "paths.hpp"
#include "search.hpp"
#include "selection.hpp"

namespace qsearch {

// Scores are rounded to float32 at the end, which may lift a cosine by half a unit in the last place.
constexpr double kLift = 0x1p-24;

inline float round_down(double value) {
  return std::nextafter(static_cast<float>(value), kNone);
}

inline float round_up(double value) {
  return std::nextafter(static_cast<float>(value), -kNone);
}

// The bound that a query's code gives. `missing` is the squared length of what the code is not of, as computed.
inline Interval interval_of(const CodeSums& sums, double missing, const Margins& margins) {
  const double length = sums.factor * std::sqrt(sums.squared) * margins.growth;
  const double residual = std::sqrt(sums.lost) * margins.growth + margins.roundoffs * length;
  return {sums.factor, length,
          std::sqrt((missing > 0.0 ? missing : 0.0) + margins.hidden) * margins.outward,
          (residual + margins.added) * margins.times + margins.constant};
}

// The scan works in units of the query's factor. `code_sum` is the sum of the query's codes.
inline ScanQuery scan_query(const Interval& interval, std::int32_t code_sum) {
  return {128 * code_sum, round_up(interval.residual_factor / interval.factor),
          round_up(interval.rest_factor / interval.factor), kNone};
}

// Everything that could make the exact score reach `score` passes.
inline float scan_threshold(float score, const Interval& interval) {
  if (score == kNone) return kNone;
  const double needed = (static_cast<double>(score) - kLift - interval.slack) / interval.factor;
  const float rounded = static_cast<float>(needed);
  return std::nextafter(std::nextafter(rounded, kNone), kNone);
}

// A sieve computes bounds by int8 codes in float32 and in units of the query's factor, as a scan does, so it needs
// as much room for what that hides (SCAN_SLACK in qsearch/codes/bounds.py): the interval is for float64. A bound
// that is not above -1 may be a damaged row's.
constexpr double kSieveSlack = 20.0 * 0x1p-24;

inline SieveQuery sieve_query(const Interval& interval, const std::int8_t* codes, std::int32_t code_sum) {
  return {codes, code_sum, round_up(interval.residual_factor / interval.factor), kNone,
          round_up((kSieveSlack - 1.0) / interval.factor)};
}

inline float sieve_threshold(float score, Interval interval) {
  interval.slack += kSieveSlack;
  return scan_threshold(score, interval);
}

// What the int8 code of a row says of its cosine: it is within `width` of `middle`.
struct Estimate {
  double middle, width;
};

inline Estimate estimate(const Interval& interval, float scale, float residual, double dot) {
  return {interval.factor * scale * dot, interval.residual_factor * residual + interval.slack};
}

// The cosine is not higher.
inline float upper_bound(const Estimate& of) { return round_up(of.middle + of.width); }

// The score is not lower, if the error is at most this share of what it can be.
inline float lower_bound(const Estimate& of, double share_of_width) {
  return round_down(of.middle - share_of_width * of.width - kLift);
}

// No cosine is below -1 or above 1, as far as float32 vectors are unit vectors. A bound that says so,
// or is not a number, comes of damage and bounds nothing.
constexpr float kMost = 1.0f + 0x1p-20f;
inline bool can_be_upper(float bound) { return bound >= -kMost; }
inline bool can_be_lower(float bound) { return std::isfinite(bound) && bound <= kMost; }

// Whether a row with this upper bound can neither be better than a score nor equal to it.
inline bool out(float bound, float score) {
  return static_cast<double>(bound) < static_cast<double>(score) - kLift;
}

// Whether the upper bound of an estimate can be one and is out, told without rounding it: it is less than
// the margin above the sum. What is near the limit, or not a number, is not sure.
inline bool surely_out(const Estimate& of, float score) {
  constexpr double kMargin = 0x1p-20;
  const double most = of.middle + of.width;
  return (most > -1.0) & (most < static_cast<double>(score) - kLift - kMargin);
}

}  // namespace qsearch
