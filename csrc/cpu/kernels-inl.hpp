// All kernels of one ISA level: the areas' *-inl.hpp files and the table of what they define.  Included once by each
// isa_<level>.cpp and by nothing else.
#pragma once

#include "cpu/kernel_table.hpp"
#include "cpu/simd.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

const KernelTable& table() {
  static constexpr KernelTable kernels{};
  return kernels;
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
