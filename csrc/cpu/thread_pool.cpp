#include "recsys/thread_pool.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>

#include "recsys/errors.hpp"

namespace recsys {
namespace {

// One parallel_for call.  It lives on its caller's stack: the caller leaves only when no worker is in it any more.
struct Job {
  std::int64_t n_tasks;
  detail::TaskFn fn;
  void* context;
  std::int64_t n_threads;

  std::atomic<std::int64_t> next_task{0};
  // The rest is guarded by the pool's mutex.
  std::int64_t n_joined = 1;  // the caller is thread 0
  std::int64_t n_running = 0;
  std::condition_variable all_left{};
  std::int64_t failed_task = -1;
  std::exception_ptr failure{};
};

class ThreadPool {
 public:
  void run(Job& job) {
    const std::int64_t n_helpers = job.n_threads - 1;
    {
      const std::lock_guard lock(mutex_);
      start_workers(n_helpers);
      queue_.push_back(&job);
    }
    for (std::int64_t i = 0; i < n_helpers; ++i) wake_.notify_one();
    work(job, 0);
    std::unique_lock lock(mutex_);
    remove(job);
    job.all_left.wait(lock, [&job] { return job.n_running == 0; });
  }

  // Takes tasks until none is left.  `mutex_` is taken only to record a failure.
  void work(Job& job, std::int64_t thread) {
    for (;;) {
      const std::int64_t task = job.next_task.fetch_add(1, std::memory_order_relaxed);
      if (task >= job.n_tasks) return;
      try {
        job.fn(job.context, task, thread);
      } catch (...) {
        job.next_task.store(job.n_tasks, std::memory_order_relaxed);
        const std::lock_guard lock(mutex_);
        if (job.failed_task < 0 || task < job.failed_task) {
          job.failed_task = task;
          job.failure = std::current_exception();
        }
      }
    }
  }

 private:
  void start_workers(std::int64_t wanted) {
    while (n_workers_ < wanted) {
      try {
        std::thread([this] { serve(); }).detach();
      } catch (const std::system_error&) {
        return;  // out of threads: the caller and the workers there are do the work
      }
      ++n_workers_;
    }
  }

  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return !queue_.empty(); });
      Job& job = *queue_.front();
      const std::int64_t thread = job.n_joined++;
      ++job.n_running;
      if (job.n_joined == job.n_threads) queue_.pop_front();
      lock.unlock();
      work(job, thread);
      lock.lock();
      remove(job);  // no task is left, so nobody else should join
      if (--job.n_running == 0) job.all_left.notify_one();
    }
  }

  void remove(Job& job) {
    const auto at = std::find(queue_.begin(), queue_.end(), &job);
    if (at != queue_.end()) queue_.erase(at);
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job*> queue_;
  std::int64_t n_workers_ = 0;
};

std::atomic<ThreadPool*> current_pool{nullptr};

// Never destroyed: workers may still sleep in it while the process exits, and after a fork the child, which has none
// of the workers and perhaps a locked mutex, abandons its copy.
ThreadPool& pool() {
  if (ThreadPool* existing = current_pool.load(std::memory_order_acquire)) return *existing;
  [[maybe_unused]] static const int registered =
      pthread_atfork(nullptr, nullptr, [] { current_pool.store(nullptr, std::memory_order_release); });
  auto fresh = std::make_unique<ThreadPool>();
  ThreadPool* expected = nullptr;
  if (!current_pool.compare_exchange_strong(expected, fresh.get())) return *expected;
  return *fresh.release();
}

}  // namespace

std::int64_t resolve_threads(std::int64_t n_threads) {
  if (n_threads < 0) {
    throw ConfigError("n_threads must be 0 (all usable processors) or positive, got " + std::to_string(n_threads));
  }
  return std::min(n_threads == 0 ? usable_cpus() : n_threads, max_threads);
}

namespace detail {

void run_tasks(std::int64_t n_tasks, std::int64_t n_threads, TaskFn fn, void* context) {
  const std::int64_t width = std::min(resolve_threads(n_threads), n_tasks);
  if (width <= 1) {
    for (std::int64_t task = 0; task < n_tasks; ++task) fn(context, task, 0);
    return;
  }
  Job job{n_tasks, fn, context, width};
  pool().run(job);
  if (job.failure) std::rethrow_exception(job.failure);
}

}  // namespace detail
}  // namespace recsys
