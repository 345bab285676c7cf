#include "recsys/dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <string>

#include "cpu/kernel_table.hpp"
#include "recsys/errors.hpp"

#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace recsys {
namespace {

struct Level {
  Isa isa;
  bool (*supported)();
  const cpu::KernelTable& (*table)();
};

#if defined(RECSYS_HAS_AVX2) || defined(RECSYS_HAS_AVX512) || defined(RECSYS_HAS_AVX512VNNI)
// __builtin_cpu_supports also asks the operating system whether it saves the wide registers.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
#if defined(RECSYS_HAS_AVX512) || defined(RECSYS_HAS_AVX512VNNI)
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif
#if defined(RECSYS_HAS_AVX512VNNI)
bool has_avx512vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
#endif
#if defined(RECSYS_HAS_NEONDOT) && defined(__aarch64__)
bool has_neondot() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
  return true;  // every processor of a Mac
#else
  return false;
#endif
}
#endif

// Narrowest first.
constexpr Level levels[] = {
    {Isa::baseline, [] { return true; }, cpu::baseline::table},
#if defined(RECSYS_HAS_AVX2)
    {Isa::avx2, has_avx2, cpu::avx2::table},
#endif
#if defined(RECSYS_HAS_AVX512)
    {Isa::avx512, has_avx512, cpu::avx512::table},
#endif
#if defined(RECSYS_HAS_AVX512VNNI)
    {Isa::avx512vnni, has_avx512vnni, cpu::avx512vnni::table},
#endif
#if defined(RECSYS_HAS_NEON) && defined(__aarch64__)
    {Isa::neon, [] { return true; }, cpu::neon::table},
#endif
#if defined(RECSYS_HAS_NEONDOT) && defined(__aarch64__)
    {Isa::neondot, has_neondot, cpu::neondot::table},
#endif
};

const Level& find_level(std::string_view name, const std::string& source) {
  std::string available;
  for (const Level& level : levels) {
    if (!level.supported()) continue;
    if (isa_name(level.isa) == name) return level;
    available += available.empty() ? "" : ", ";
    available += isa_name(level.isa);
  }
  throw DeviceError(source + " must be an instruction set available on this machine (" + available + "), got \"" +
                    std::string(name) + "\"");
}

const Level& widest_level() {
  const Level* widest = levels;
  for (const Level& level : levels) {
    if (level.supported()) widest = &level;
  }
  return *widest;
}

std::atomic<const Level*> chosen{nullptr};

const Level& active_level() {
  if (const Level* level = chosen.load(std::memory_order_acquire)) return *level;
  const char* wanted = std::getenv("RECSYS_ISA");
  const Level& level = wanted != nullptr && *wanted != '\0' ? find_level(wanted, "RECSYS_ISA") : widest_level();
  // Threads that race here choose alike, unless set_isa() came first, which then stands.
  const Level* expected = nullptr;
  return chosen.compare_exchange_strong(expected, &level) ? level : *expected;
}

}  // namespace

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::baseline:
      return "baseline";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512vnni:
      return "avx512vnni";
    case Isa::neon:
      return "neon";
    case Isa::neondot:
      return "neondot";
  }
  return "unknown";
}

std::vector<Isa> available_isas() {
  std::vector<Isa> available;
  for (const Level& level : levels) {
    if (level.supported()) available.push_back(level.isa);
  }
  return available;
}

Isa active_isa() { return active_level().isa; }

void set_isa(std::string_view name) { chosen.store(&find_level(name, "isa"), std::memory_order_release); }

namespace cpu {

const KernelTable& kernels() { return active_level().table(); }

}  // namespace cpu
}  // namespace recsys
