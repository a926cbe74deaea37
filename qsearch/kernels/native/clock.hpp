// How long parts of a search take.
#pragma once

#include <chrono>
#include <cstdint>

namespace qsearch {

using Clock = std::chrono::steady_clock;

inline std::int64_t nanoseconds(Clock::duration spent) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(spent).count();
}

}  // namespace qsearch
