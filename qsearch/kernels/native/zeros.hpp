// What a file of zeros holds where there should be codes: no bound can rest on it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#include "search.hpp"

namespace qsearch {

constexpr std::size_t kPageBytes = 4096;  // what a file system leaves as zeros comes in pages

// Not 0 if a group of codes of sixteen rows holds a zero (Mycroft: eight bytes at a time).
inline std::uint64_t zero_bytes(const std::uint8_t* group) {
  constexpr std::uint64_t kOnes = 0x0101010101010101u;
  std::uint64_t found = 0;
  for (std::size_t i = 0; i < kBlockRows * kGroup; i += 8) {
    std::uint64_t bytes;
    std::memcpy(&bytes, group + i, sizeof bytes);
    found |= (bytes - kOnes) & ~bytes;
  }
  return found & (kOnes << 7);
}

// Rows of some blocks whose codes or bounds are what a file of zeros holds. Residual and rest of a row
// are above 0, because their rounding is part of them, its scale is but for rows without any of the kept
// components, and codes are stored as 1 to 255. They pass. Zeros come in pages, so the first and the
// last codes of a block, and those a page apart, tell.
inline std::uint64_t impossible_rows(const Rows& rows, std::size_t block, std::size_t count) {
  const std::size_t block_bytes = kBlockRows * rows.head;
  std::uint64_t found = 0;
  for (std::size_t b = 0; b < count; ++b) {
    const float* bounds = rows.bounds + (block + b) * 3 * kBlockRows;
    const std::uint8_t* codes = rows.rotated + (block + b) * block_bytes;
    std::uint64_t zeros = zero_bytes(codes + block_bytes - kBlockRows * kGroup);
    for (std::size_t i = 0; i < block_bytes; i += kPageBytes) zeros |= zero_bytes(codes + i);
    if (zeros) {
      found |= std::uint64_t{0xffff} << (b * kBlockRows);
      continue;
    }
    std::uint32_t least = std::numeric_limits<std::uint32_t>::max();
    for (std::size_t i = 0; i < 3 * kBlockRows; ++i) {
      std::uint32_t bits;
      std::memcpy(&bits, bounds + i, sizeof bits);
      least = std::min(least, bits);
    }
    if (least) continue;
    for (std::size_t i = 0; i < 3 * kBlockRows; ++i)
      found |= static_cast<std::uint64_t>(bounds[i] == 0.0f) << (b * kBlockRows + i % kBlockRows);
  }
  return found;
}

}  // namespace qsearch
