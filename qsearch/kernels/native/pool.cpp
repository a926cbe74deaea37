// Making a thread takes as long as scanning ten thousand rows, so threads are kept. They spin a little
// after their work, because queries often come one after the other, and then sleep.
#include "pool.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace qsearch {
namespace {

constexpr auto kSpin = std::chrono::microseconds(200);
constexpr auto kLook = std::chrono::milliseconds(10);

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// One call of in_parallel. Workers hold it by a shared pointer: one that wakes too late finds no part
// left, and cannot mistake it for a later call.
struct Job {
  Job(std::size_t parts, const std::function<void(std::size_t)>& work)
      : parts(parts), left(parts), work(&work) {}

  void take_part() {
    for (std::size_t part; (part = next.fetch_add(1)) < parts;) {
      try {
        (*work)(part);
      } catch (...) {
        const std::lock_guard<std::mutex> guard(lock);
        if (!failure) failure = std::current_exception();
      }
      if (left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        const std::lock_guard<std::mutex> guard(lock);
        done.notify_all();
      }
    }
  }

  // Until all parts are done: spinning a little, then asleep, because there may be fewer processors than
  // threads, or a quota of their time.
  void wait(Watch* watch) {
    const auto until = std::chrono::steady_clock::now() + kSpin;
    while (left.load(std::memory_order_acquire)) {
      for (int i = 0; i < 64; ++i) pause();
      if (std::chrono::steady_clock::now() > until) break;
    }
    std::unique_lock<std::mutex> guard(lock);
    while (left.load(std::memory_order_acquire)) {
      done.wait_for(guard, kLook);
      guard.unlock();
      stop(watch);
      guard.lock();
    }
  }

  const std::size_t parts;
  std::atomic<std::size_t> next{0};
  std::atomic<std::size_t> left;
  const std::function<void(std::size_t)>* work;  // valid while a part is left
  std::mutex lock;
  std::condition_variable done;
  std::exception_ptr failure;
};

class Pool {
 public:
  // Returns false if the pool is at work for another thread.
  bool run(const std::shared_ptr<Job>& job, Watch* watch) {
    const std::unique_lock<std::mutex> mine(busy_, std::try_to_lock);
    if (!mine) return false;
    while (workers_ + 1 < job->parts) {
      try {
        std::thread([this, seen = number_.load()] { serve(seen); }).detach();
      } catch (const std::system_error&) {
        break;  // no more threads: those there are take all parts
      }
      ++workers_;
    }
    {
      const std::lock_guard<std::mutex> guard(lock_);
      job_ = job;
      number_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    job->take_part();
    job->wait(watch);
    return true;
  }

 private:
  void serve(std::size_t seen) {
    for (;;) {
      const auto until = std::chrono::steady_clock::now() + kSpin;
      while (number_.load(std::memory_order_acquire) == seen) {
        for (int i = 0; i < 64; ++i) pause();
        if (std::chrono::steady_clock::now() > until) break;
      }
      std::shared_ptr<Job> job;
      {
        std::unique_lock<std::mutex> guard(lock_);
        wake_.wait(guard, [&] { return number_.load() != seen; });
        seen = number_.load();
        job = job_;
      }
      job->take_part();
    }
  }

  std::mutex busy_;
  std::mutex lock_;
  std::condition_variable wake_;
  std::atomic<std::size_t> number_{0};
  std::shared_ptr<Job> job_;
  std::size_t workers_ = 0;
};

// The pool of this process, never destroyed: its threads may be asleep in it when the process ends.
//
// A forked child has none of its parent's threads, and makes a pool of its own. No thread may be about to
// make one while another forks: the lock would stay held in the child.
std::mutex making;
Pool* current = nullptr;

Pool& pool() {
#if !defined(_WIN32)
  static const int watching = pthread_atfork([] { making.lock(); }, [] { making.unlock(); },
                                             [] {
                                               current = nullptr;
                                               making.unlock();
                                             });
  (void)watching;
#endif
  const std::lock_guard<std::mutex> guard(making);
  if (!current) current = new Pool;
  return *current;
}

}  // namespace

void in_parallel(std::size_t parts, const std::function<void(std::size_t)>& work, Watch* watch) {
  if (parts == 0) return;
  if (parts == 1) {
    work(0);
    return;
  }
  const auto job = std::make_shared<Job>(parts, work);
  if (!pool().run(job, watch)) job->take_part();  // other callers keep the processors busy already
  if (job->failure) std::rethrow_exception(job->failure);
}

}  // namespace qsearch
