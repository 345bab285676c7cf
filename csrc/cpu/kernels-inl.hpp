// All kernels of one ISA level: the areas' *-inl.hpp files and the table of what they define.  Included once by each
// isa_<level>.cpp and by nothing else.
#pragma once

#include "cpu/cg-inl.hpp"
#include "cpu/compact-inl.hpp"
#include "cpu/compact_rescore-inl.hpp"
#include "cpu/compact_select-inl.hpp"
#include "cpu/dual-inl.hpp"
#include "cpu/kernel_table.hpp"
#include "cpu/sgd-inl.hpp"
#include "cpu/simd.hpp"
#include "cpu/slim-inl.hpp"
#include "cpu/solve-inl.hpp"
#include "cpu/topk-inl.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

const KernelTable& table() {
  static constexpr KernelTable kernels{
      .panel_max = panel_max,
      .panel_width = panel_width_of,
      .score_tile = score_tile,
      .compact_limit = compact_limit,
      .compact_pays = compact_pays,
      .block_thresholds = block_thresholds,
      .scan_block = scan_block,
      .scan_coarse_block = scan_coarse_block,
      .reached_by = reached_by,
      .keep_reaching = keep_reaching,
      .rank_keys = rank_keys,
      .score_rows = score_rows,
      .add_scaled = add_scaled,
      .add_scaled_sparse = add_scaled_sparse,
      .next_above = next_above,
      .gather_rows = gather_rows,
      .symmetric_update = symmetric_update,
      .multiply_triangle = multiply_triangle,
      .cholesky_solve = cholesky_solve,
      .add_products = add_products,
      .stored_loss = stored_loss,
      .dual_solve = dual_solve,
      .cg_solve = cg_solve,
      .sgd_kernel = sgd_kernel,
      .slim_sweep = slim_sweep,
  };
  return kernels;
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
