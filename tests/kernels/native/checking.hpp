// What checks of native code share: a tally of differences, memory with a forbidden page behind it, and chance.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "paths.hpp"

using namespace qsearch;

namespace {


constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::size_t kShown = 5;  // differences of a path that are printed
constexpr std::size_t kThreads[] = {1, 3};

struct Tally {
  const Path* path;
  std::size_t compared = 0;
  std::size_t different = 0;
};

__attribute__((format(printf, 3, 4)))
void expect(Tally& tally, bool same, const char* format, ...) {
  ++tally.compared;
  if (same || ++tally.different > kShown) return;
  std::printf("%s differs: ", tally.path->name);
  std::va_list values;
  va_start(values, format);
  std::vprintf(format, values);
  va_end(values);
  std::printf("\n");
}

// A forbidden page lies right behind the last element: a kernel that reads too far does not survive.
template <typename T>
class Fenced {
 public:
  explicit Fenced(std::size_t capacity) {
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t bytes = (capacity * sizeof(T) + page - 1) / page * page;
    void* base = mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                      -1, 0);
    if (base == MAP_FAILED || mprotect(static_cast<char*>(base) + bytes, page, PROT_NONE) != 0) {
      std::perror("mmap");
      std::exit(3);
    }
    end_ = reinterpret_cast<T*>(static_cast<char*>(base) + bytes);
  }
  T* last(std::size_t count) const { return end_ - count; }
  const T* hold(const std::vector<T>& values) const {
    std::copy(values.begin(), values.end(), last(values.size()));
    return last(values.size());
  }

 private:
  T* end_;  // never given back: one process, a few megabytes
};

class Random {
 public:
  std::uint64_t bits() { return engine_(); }
  std::size_t below(std::size_t end) { return bits() % end; }
  float symmetric() { return std::ldexp(static_cast<float>(below(1u << 24)), -23) - 1.0f; }
  // Of such sizes that a sum of products is rounded at nearly every step, and so shows its order.
  float any() { return std::ldexp(symmetric(), -static_cast<int>(below(12))); }
  // A code of -127..127: any, one of the outermost, or always the largest.
  int code(std::size_t kind) {
    if (kind == 0) return static_cast<int>(below(255)) - 127;
    return kind == 1 && below(2) ? -127 : 127;
  }

 private:
  std::mt19937_64 engine_{20240229};
};

Random random_;

bool same_bits(double left, double right) {
  return std::memcmp(&left, &right, sizeof left) == 0 || (std::isnan(left) && std::isnan(right));
}

bool same_bits(const std::vector<float>& left, const std::vector<float>& right) {
  return std::memcmp(left.data(), right.data(), left.size() * sizeof(float)) == 0;
}

}  // namespace
