// All kernels of one ISA level: the areas' *-inl.hpp files and the table of what they define.  Included once by each
// isa_<level>.cpp and by nothing else.
#pragma once

#include "cpu/kernel_table.hpp"
#include "cpu/simd.hpp"
#include "cpu/topk-inl.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

const KernelTable& table() {
  static constexpr KernelTable kernels{
      .panel_max = panel_max,
      .panel_width = panel_width_of,
      .score_tile = score_tile,
      .add_scaled = add_scaled,
      .add_scaled_sparse = add_scaled_sparse,
      .next_above = next_above,
  };
  return kernels;
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
