// Threads of our own: no OpenMP, which clashes between torch and faiss.
#pragma once

#include <cstddef>
#include <functional>

#include "watch.hpp"

namespace qsearch {

// Run work(part) for part = 0 .. parts - 1 on so many threads, this one among them. The first
// exception that a part throws is thrown here when all are done. While the last parts are done elsewhere
// this thread goes on to look at `watch`.
void in_parallel(std::size_t parts, const std::function<void(std::size_t)>& work,
                 Watch* watch = nullptr);

}  // namespace qsearch
