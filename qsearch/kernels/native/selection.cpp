#include "selection.hpp"

#include <algorithm>
#include <cmath>

namespace qsearch {

std::size_t share(std::size_t total, std::size_t parts, std::size_t part) {
  return total / parts * part + std::min(part, total % parts);
}

constexpr double kDoubt = 0.0005;  // how often what is guessed at one look may prove too high

std::size_t safe_rank(std::size_t k, double share) {
  if (share >= 1.0 || k == 1) return k;
  const double trials = static_cast<double>(k - 1);
  if (k > 256) {
    // 3.3 deviations of the normal distribution, and two and a half places more, because the binomial
    // distribution leans to the right at small shares: tests/kernels/test_kernels.py holds it to kDoubt.
    const double mean = trials * share;
    const double rank = std::ceil(mean + 3.3 * std::sqrt(mean * (1.0 - share)) + 2.5);
    return std::min(k, static_cast<std::size_t>(rank));
  }
  double probability = std::pow(1.0 - share, trials);  // of none among those seen
  double at_most = probability;
  std::size_t rank = 1;
  while (rank < k && 1.0 - at_most > kDoubt) {
    probability *= (trials - static_cast<double>(rank) + 1.0) / static_cast<double>(rank) *
                   share / (1.0 - share);
    at_most += probability;
    ++rank;
  }
  return rank;
}

}  // namespace qsearch
