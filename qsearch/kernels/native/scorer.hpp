// The score of a row, to the bit: docs/architecture.md defines it.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "paths.hpp"

namespace qsearch {

// One query. Its components are made float64 once, and not again for every row: that is half of the work.
class Scorer {
 public:
  Scorer(const Path& path, const float* query, std::size_t d)
      : path_(&path), query_(query, query + d) {
    double own;
    path.lane_dots(query, query_.data(), d, &own, &square_);
  }

  // The cosine. Not finite where the row is not, or is all zeros.
  float score(const float* row) const {
    double product, square;
    path_->lane_dots(row, query_.data(), query_.size(), &product, &square);
    return static_cast<float>(product / std::sqrt(square * square_));
  }

 private:
  const Path* path_;
  std::vector<double> query_;
  double square_;
};

}  // namespace qsearch
