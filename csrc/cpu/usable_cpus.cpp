#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

std::int64_t cpus_of_affinity() {
#if defined(__linux__)
  // The mask's size is not known in advance: the call fails with EINVAL until the set is large enough.
  for (int n_bits = 1024; n_bits <= 1 << 20; n_bits *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<std::size_t>(n_bits));
    if (set == nullptr) break;
    const std::size_t n_bytes = CPU_ALLOC_SIZE(static_cast<std::size_t>(n_bits));
    const bool known = sched_getaffinity(0, n_bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(n_bytes, set) : 0;
    CPU_FREE(set);
    if (known) return count;
  }
#endif
  return std::thread::hardware_concurrency();
}

// Quota over period of the control group, or infinity.  A container sees its own group at the root of the mount.
double cpus_of_cgroup() {
#if defined(__linux__)
  std::string quota;
  double period = 0;
  if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2 >> quota >> period && quota != "max" && period > 0) {
    return std::stod(quota) / period;
  }
  double limit = 0;
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (v1_quota >> limit && v1_period >> period && limit > 0 && period > 0) return limit / period;
#endif
  return HUGE_VAL;
}

}  // namespace

std::int64_t usable_cpus() {
  static const double quota = std::ceil(cpus_of_cgroup());  // files; the affinity is one cheap call, asked every time
  const auto affinity = static_cast<double>(cpus_of_affinity());
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::min(affinity, quota)));
}

}  // namespace recsys
