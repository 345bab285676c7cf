// Which instruction set the kernels run on.
//
// The level is chosen once a process, at first use: the environment variable RECSYS_ISA if set, else the widest level
// that was compiled in and that processor and operating system both support.  Asking for an unknown or unsupported
// level throws DeviceError naming the available ones.  All functions are thread-safe.
#pragma once

#include <string_view>
#include <vector>

namespace recsys {

enum class Isa { baseline, avx2, avx512, avx512vnni, neon, neondot };

[[nodiscard]] std::string_view isa_name(Isa isa);

// Narrowest first; never empty.
[[nodiscard]] std::vector<Isa> available_isas();

// The level in use.
[[nodiscard]] Isa active_isa();

// Switches the level for all later calls in this process; meant for tests that run every level.
void set_isa(std::string_view name);

}  // namespace recsys
