// Brings what a search will look at into caches, ahead of it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "search.hpp"
#include "zeros.hpp"

namespace qsearch {

class Fetching {
 public:
  // For pieces of so many rows at most.
  Fetching(const Rows& rows, std::size_t most) : rows_(rows), pages_(most * rows.d / kPageBytes + 2) {}

  // The pages of the int8 codes from a row on are not known to be mapped.
  void begin(std::size_t row) {
    first_page_ = page_of(row);
    std::fill(pages_.begin(), pages_.end(), kNobody);
  }

  // The codes of a row, into the second cache: it is looked at when the piece is done.
  //
  // What is fetched ahead from a page that is not mapped yet is not fetched, and the processor finds that
  // out anew for every line: tens of nanoseconds each, which for a batch that many rows survive takes ten
  // times as long as all else. So the second row of a page that is met reads a byte of the first one, which
  // is in the cache by now if the page is mapped, and maps it if not.
  void codes_ahead(std::size_t row) {
    std::uint32_t& met = pages_[page_of(row) - first_page_];
    if (met == kNobody) {
      met = static_cast<std::uint32_t>(row);
    } else if (met != kMapped && met != row) {
      static_cast<void>(*static_cast<const volatile std::int8_t*>(rows_.int8 + met * rows_.d));
      static_cast<void>(*static_cast<const volatile float*>(rows_.scale + met));
      static_cast<void>(*static_cast<const volatile float*>(rows_.residual + met));
      met = kMapped;
    }
    codes(row);
  }

  // The same where the row is looked at soon, and maps its page itself.
  void codes(std::size_t row) const {
    const std::int8_t* first = rows_.int8 + row * rows_.d;
    for (std::size_t i = 0; i < rows_.d; i += 64) __builtin_prefetch(first + i, 0, 2);
    __builtin_prefetch(rows_.scale + row, 0, 2);
    __builtin_prefetch(rows_.residual + row, 0, 2);
  }

  void floats(std::size_t row) const {
    const float* vector = rows_.vectors + row * rows_.d;
    for (std::size_t i = 0; i < rows_.d; i += 16) __builtin_prefetch(vector + i);
  }

 private:
  static constexpr std::uint32_t kNobody = std::numeric_limits<std::uint32_t>::max();
  static constexpr std::uint32_t kMapped = kNobody - 1;  // segments have fewer rows

  std::uintptr_t page_of(std::size_t row) const {
    return reinterpret_cast<std::uintptr_t>(rows_.int8 + row * rows_.d) / kPageBytes;
  }

  const Rows& rows_;
  std::vector<std::uint32_t> pages_;  // of the codes of a piece: the first row met there, see `codes_ahead`
  std::uintptr_t first_page_ = 0;
};

}  // namespace qsearch
