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
#include <utility>

#include "recsys/errors.hpp"
#include "recsys/interrupt.hpp"

namespace recsys {
namespace {

// Thrown at a checkpoint of an interrupted operation by the threads that did not poll.
struct Abandoned {};

// What a checkpoint of this thread looks at: of the caller's making, also where this thread works for it.
thread_local InterruptScope* current_scope = nullptr;

// One parallel_for call.  It lives on its caller's stack: the caller leaves only when no worker is in it any more.
struct Job {
  std::int64_t n_tasks;
  detail::TaskFn fn;
  void* context;
  std::int64_t n_threads;
  InterruptScope* scope;

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
    const auto all_left = [&job] { return job.n_running == 0; };
    while (!job.all_left.wait_for(lock, InterruptScope::interval, all_left)) {
      lock.unlock();
      attempt(job, job.n_tasks, [] { checkpoint(); });
      lock.lock();
    }
  }

  // Takes tasks until none is left.  `mutex_` is taken only to record a failure.
  void work(Job& job, std::int64_t thread) {
    InterruptScope* const outer = std::exchange(current_scope, job.scope);
    for (;;) {
      const std::int64_t task = job.next_task.fetch_add(1, std::memory_order_relaxed);
      if (task >= job.n_tasks) break;
      attempt(job, task, [&] {
        checkpoint();
        job.fn(job.context, task, thread);
      });
    }
    current_scope = outer;
  }

 private:
  template <typename Fn>
  void attempt(Job& job, std::int64_t task, Fn&& fn) {
    try {
      fn();
    } catch (const Abandoned&) {
      job.next_task.store(job.n_tasks, std::memory_order_relaxed);  // the reason is recorded by who polled
    } catch (...) {
      job.next_task.store(job.n_tasks, std::memory_order_relaxed);
      const std::lock_guard lock(mutex_);
      if (job.failed_task < 0 || task < job.failed_task) {
        job.failed_task = task;
        job.failure = std::current_exception();
      }
    }
  }

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

InterruptScope::InterruptScope(std::function<void()> poll)
    : poll_(std::move(poll)),
      thread_(std::this_thread::get_id()),
      next_(std::chrono::steady_clock::now() + interval),
      outer_(std::exchange(current_scope, this)) {}

InterruptScope::~InterruptScope() { current_scope = outer_; }

void InterruptScope::check() {
  if (interrupted_.load(std::memory_order_relaxed)) throw Abandoned{};
  if (std::this_thread::get_id() != thread_) return;
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return;
  next_ = now + interval;
  try {
    poll_();
  } catch (...) {
    interrupted_.store(true, std::memory_order_relaxed);
    throw;
  }
}

void checkpoint() {
  if (current_scope != nullptr) current_scope->check();
}

namespace detail {

void run_tasks(std::int64_t n_tasks, std::int64_t n_threads, TaskFn fn, void* context) {
  const std::int64_t width = std::min(resolve_threads(n_threads), n_tasks);
  if (width <= 1) {
    for (std::int64_t task = 0; task < n_tasks; ++task) {
      checkpoint();
      fn(context, task, 0);
    }
    return;
  }
  Job job{n_tasks, fn, context, width, current_scope};
  pool().run(job);
  if (job.failure) std::rethrow_exception(job.failure);
  if (current_scope != nullptr && current_scope->interrupted()) throw Abandoned{};  // from a task that has tasks
}

}  // namespace detail
}  // namespace recsys
