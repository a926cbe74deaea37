// What a file of zeros holds where there should be codes: no bound can rest on it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "search.hpp"

namespace qsearch {

constexpr std::size_t kPageBytes = 4096;  // what a file system leaves as zeros comes in pages

// The least byte of a group of codes of sixteen rows. (Compilers find the instruction for it.)
inline std::uint8_t least_code(const std::uint8_t* group) {
  std::uint8_t least = 255;
  for (std::size_t i = 0; i < kBlockRows * kGroup; ++i) least = std::min(least, group[i]);
  return least;
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
    std::uint8_t least_of_codes = least_code(codes + block_bytes - kBlockRows * kGroup);
    for (std::size_t i = 0; i < block_bytes; i += kPageBytes)
      least_of_codes = std::min(least_of_codes, least_code(codes + i));
    if (!least_of_codes) {
      found |= std::uint64_t{0xffff} << (b * kBlockRows);
      continue;
    }
    std::uint32_t zeros = 0;
    for (std::size_t i = 0; i < 3 * kBlockRows; ++i) {
      std::uint32_t bits;
      std::memcpy(&bits, bounds + i, sizeof bits);
      zeros |= bits == 0 ? 1u : 0u;
    }
    if (!zeros) continue;
    for (std::size_t i = 0; i < 3 * kBlockRows; ++i)
      found |= static_cast<std::uint64_t>(bounds[i] == 0.0f) << (b * kBlockRows + i % kBlockRows);
  }
  return found;
}

}  // namespace qsearch
