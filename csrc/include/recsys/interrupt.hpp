// Ending a long operation early, as Ctrl-C should.
//
// Whoever calls an operation may install a poll for the length of the call; it looks for a reason to stop, and throws
// where there is one.  Operations reach a checkpoint between tasks and every few milliseconds within long ones.  Only
// the thread that installed the poll runs it, at most every 50 ms.  When it throws, the other threads of the call leave
// at their next checkpoint and the exception arrives at the caller, after everything was released as after any other.
//
// Cost of a checkpoint: a load from thread-local memory, and on the polling thread the time of day.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

namespace recsys {

// Installs a poll on this thread, and on those that work for it, until it goes out of scope; one installed before rests
// meanwhile.
class InterruptScope {
 public:
  static constexpr std::chrono::milliseconds interval{50};

  explicit InterruptScope(std::function<void()> poll);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  // A checkpoint within the scope.
  void check();
  [[nodiscard]] bool interrupted() const { return interrupted_.load(std::memory_order_relaxed); }

 private:
  std::function<void()> poll_;
  std::thread::id thread_;
  std::chrono::steady_clock::time_point next_;
  InterruptScope* outer_;
  std::atomic<bool> interrupted_{false};
};

// Throws what the poll throws, or ends this thread's task where another thread has met that.
void checkpoint();

}  // namespace recsys
