// The core's own threads.
//
// One persistent pool a process, without OpenMP (whose runtimes clash with the one that torch loads).  Workers are
// started when first needed and then sleep between calls.  parallel_for may be called from several threads at once and
// from inside a task: a caller works on its own tasks and never waits for a worker that has not joined it, so nesting
// cannot deadlock.  After fork() the child starts workers of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace recsys {

// Processors that this process may use: its affinity mask, and its cgroup's quota rounded up where that is smaller.
[[nodiscard]] std::int64_t usable_cpus();

// Number of threads for a request: 0 means usable_cpus(); at most `max_threads`.  Throws ConfigError below 0.
//
// An operation asks once, at its start, and passes the answer on: usable_cpus() may change while it runs, and scratch
// space for yesterday's number of threads would be too small for today's.
inline constexpr std::int64_t max_threads = 512;
[[nodiscard]] std::int64_t resolve_threads(std::int64_t n_threads);

namespace detail {

using TaskFn = void (*)(void* context, std::int64_t task, std::int64_t thread);
void run_tasks(std::int64_t n_tasks, std::int64_t n_threads, TaskFn fn, void* context);

}  // namespace detail

// Calls fn(task, thread) for every task in [0, n_tasks), on at most n_threads threads including the caller (0 = all).
//
// Tasks are handed out one at a time in ascending order.  `thread` lies in [0, n_threads) and no two running tasks of
// one call share it, so it can index scratch space of an n_threads from resolve_threads; the caller is thread 0.  Where
// tasks throw, no further ones are handed out and the exception of the lowest failed task is rethrown: the same one
// whatever the number of threads.
template <typename Fn>
void parallel_for(std::int64_t n_tasks, std::int64_t n_threads, Fn&& fn) {
  using Callable = std::remove_reference_t<Fn>;
  detail::run_tasks(
      n_tasks, n_threads,
      [](void* context, std::int64_t task, std::int64_t thread) { (*static_cast<Callable*>(context))(task, thread); },
      const_cast<void*>(static_cast<const void*>(std::addressof(fn))));
}

}  // namespace recsys
