// Whether work that takes long is still wanted.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>
#include <utility>

namespace qsearch {

// Made by the thread that calls a kernel, for as long as the call. That thread asks now and then whether
// to stop; the threads that help it see the answer.
class Watch {
 public:
  explicit Watch(std::function<bool()> unwanted)
      : unwanted_(std::move(unwanted)), owner_(std::this_thread::get_id()) {}

  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }

  // To be called every few milliseconds by every thread: whether to stop. What was done until then is of
  // no use.
  bool look() {
    if (std::this_thread::get_id() == owner_ && !stopped()) {
      const auto now = Clock::now();
      if (now >= next_) {
        next_ = now + kEvery;
        if (unwanted_()) stopped_ = true;
      }
    }
    return stopped();
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr auto kEvery = std::chrono::milliseconds(30);

  std::function<bool()> unwanted_;
  std::thread::id owner_;
  std::atomic<bool> stopped_{false};
  Clock::time_point next_ = Clock::now() + kEvery;
};

// The same where there may be none, as in tests.
inline bool stop(Watch* watch) { return watch && watch->look(); }

}  // namespace qsearch
