// The end of a sum over sixteen lanes, the same in every path.
#pragma once

namespace {

inline double fold_lanes(double* lanes) {
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

}  // namespace
