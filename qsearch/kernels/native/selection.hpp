// What every selection of rows needs: how work is divided, and how far a guess may go.
#pragma once

#include <cstddef>
#include <limits>

namespace qsearch {

constexpr float kNone = -std::numeric_limits<float>::infinity();

// The first of `total` things that part `part` of `parts` has; parts differ by at most one thing.
std::size_t share(std::size_t total, std::size_t parts, std::size_t part);

// After a share of all rows has been seen, its rank-th best score is, but for one time in 2,000, not above
// the k-th best of all: at least `rank` of the k - 1 better documents would have to be among those seen.
// That is for one look; a search looks after every chunk, and each look may be wrong. And it supposes
// an order of rows without meaning, so what rests on it is checked at the end.
std::size_t safe_rank(std::size_t k, double share);

}  // namespace qsearch
