#include "recsys/thread_pool.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "cpu/thread_sanitizer.hpp"
#include "recsys/errors.hpp"
#include "tests/check.hpp"

using recsys::parallel_for;

namespace {

void check_each_task_runs_once(std::int64_t n_tasks, std::int64_t n_threads) {
  std::vector<std::atomic<int>> runs(static_cast<std::size_t>(n_tasks));
  parallel_for(n_tasks, n_threads, [&](std::int64_t task, std::int64_t) { ++runs[static_cast<std::size_t>(task)]; });
  for (const auto& count : runs) CHECK(count == 1);
}

}  // namespace

TEST(every_task_runs_once) {
  for (const std::int64_t n_tasks : {0, 1, 2, 3, 100, 10'000}) {
    for (const std::int64_t n_threads : {0, 1, 2, 5, 16}) check_each_task_runs_once(n_tasks, n_threads);
  }
}

TEST(running_tasks_never_share_a_thread_number) {
  constexpr std::int64_t n_threads = 6;
  std::vector<std::atomic<bool>> taken(n_threads);
  std::atomic<bool> shared = false;
  parallel_for(2'000, n_threads, [&](std::int64_t, std::int64_t thread) {
    if (thread < 0 || thread >= n_threads || taken[static_cast<std::size_t>(thread)].exchange(true)) shared = true;
    std::this_thread::yield();
    taken[static_cast<std::size_t>(thread)] = false;
  });
  CHECK(!shared);
}

TEST(several_threads_work_at_once) {
  // Each task waits for the other, so one thread alone could never finish.
  std::atomic<int> arrived = 0;
  parallel_for(2, 2, [&](std::int64_t, std::int64_t) {
    ++arrived;
    while (arrived < 2) std::this_thread::yield();
  });
  CHECK(arrived == 2);
}

TEST(one_thread_runs_tasks_in_order_on_the_caller) {
  const auto caller = std::this_thread::get_id();
  std::vector<std::int64_t> order;
  parallel_for(50, 1, [&](std::int64_t task, std::int64_t thread) {
    CHECK(thread == 0);
    CHECK(std::this_thread::get_id() == caller);
    order.push_back(task);
  });
  for (std::size_t i = 0; i < 50; ++i) CHECK(order[i] == static_cast<std::int64_t>(i));
}

TEST(the_lowest_failure_is_rethrown_whatever_the_threads) {
  for (const std::int64_t n_threads : {1, 2, 8}) {
    for (int repeat = 0; repeat < 50; ++repeat) {
      CHECK_THROWS(parallel_for(200, n_threads,
                                [](std::int64_t task, std::int64_t) {
                                  if (task >= 17 && task % 2 == 1) throw std::out_of_range(std::to_string(task));
                                }),
                   std::out_of_range, "17");
    }
  }
  check_each_task_runs_once(100, 4);
}

TEST(a_failure_ends_the_handing_out) {
  std::atomic<std::int64_t> n_run = 0;
  CHECK_THROWS(parallel_for(1'000'000, 4,
                            [&](std::int64_t, std::int64_t) {
                              ++n_run;
                              throw recsys::DataError("stop");
                            }),
               recsys::DataError, "stop");
  CHECK(n_run <= 4);
}

TEST(calls_nest) {
  std::atomic<std::int64_t> n_run = 0;
  parallel_for(8, 4, [&](std::int64_t, std::int64_t) {
    parallel_for(8, 4,
                 [&](std::int64_t, std::int64_t) { parallel_for(8, 4, [&](std::int64_t, std::int64_t) { ++n_run; }); });
  });
  CHECK(n_run == 512);
}

TEST(a_nested_failure_reaches_the_outer_caller) {
  CHECK_THROWS(parallel_for(4, 4,
                            [](std::int64_t, std::int64_t) {
                              parallel_for(4, 4, [](std::int64_t, std::int64_t) { throw recsys::ShapeError("inner"); });
                            }),
               recsys::ShapeError, "inner");
}

TEST(callers_on_several_threads_do_not_disturb_each_other) {
  std::atomic<int> n_wrong = 0;
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&n_wrong] {
      for (int repeat = 0; repeat < 100; ++repeat) {
        std::atomic<std::int64_t> sum = 0;
        parallel_for(64, 3, [&](std::int64_t task, std::int64_t) { sum += task; });
        if (sum != 64 * 63 / 2) ++n_wrong;
      }
    });
  }
  for (auto& caller : callers) caller.join();
  CHECK(n_wrong == 0);
}

#if !defined(RECSYS_THREAD_SANITIZER)  // which ends a forked child that starts a thread
TEST(a_forked_child_has_a_pool) {
  check_each_task_runs_once(100, 4);
  const pid_t child = fork();
  if (child == 0) {
    std::atomic<int> arrived = 0;
    parallel_for(2, 2, [&](std::int64_t, std::int64_t) {
      ++arrived;
      while (arrived < 2) std::this_thread::yield();
    });
    _exit(arrived == 2 ? 0 : 1);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif

TEST(thread_counts_are_checked_and_resolved) {
  CHECK(recsys::usable_cpus() >= 1);
  CHECK(recsys::resolve_threads(0) == std::min(recsys::usable_cpus(), recsys::max_threads));
  CHECK(recsys::resolve_threads(3) == 3);
  CHECK(recsys::resolve_threads(1'000'000) == recsys::max_threads);
  CHECK_THROWS((void)recsys::resolve_threads(-1), recsys::ConfigError, "n_threads");
}
