// Refinement of rows in mixed precision (solve_rows.cuh) whose factors come tile by tile: what a block does there
// without a break is cut at the places where all tiles must be seen.
//
//   the rounded matrices, over all tiles               sum_rounded_rows
//   factorize_rows: a first solution x                 the factors of the matrices stay in device memory
//   three times, or until every row is refined:
//     residuals b - A x of the exact systems           multiply_rows, and cg_entries over all tiles
//     correct_rows: x += A'^-1 residual
//   the rows that are not refined, in float32          solve_rows_kernel<false>, over all tiles
//
// Each turn through the tiles copies them from the host again: this pays where a turn's arithmetic, f^2 / 2
// multiply-adds an entry, takes longer than its copies, 4 f bytes for each row of the factors.
#pragma once

#include "cuda/conjugate_gradients.cuh"
#include "cuda/solve_rows.cuh"

namespace recsys::cuda {

// One block a row: goes on with its system, in device memory from launch to launch, by the entries of a tile.
__global__ void __launch_bounds__(256, 4) sum_rounded_rows(SolveArguments a) {
  const RowSystem system(shared_memory<float>(), a.f);
  const std::int64_t row = a.order[block_x()];
  const RowTask task{row, a.indptr[row], a.indptr[row + 1], a.ridges == nullptr ? 0.0F : a.ridges[row]};
  begin_system(a, task, system);
  add_entries<true>(a, task, system);
  keep_system(a, row, system);
}

// How far a row is.
enum class RowState : std::int32_t { refined = 0, open = 1, given_up = 2 };

struct RefineArguments {
  const std::int32_t* order;  // rows, one a block
  std::int32_t f;
  float* systems;         // [n_rows, matrix_floats]
  const float* ridges;    // [n_rows], or null for zeros
  const float* residual;  // [n_rows, f], less the ridges' part
  float* x;               // [n_rows, f]
  float* before;          // [n_rows]: length of the correction before
  RowState* states;       // [n_rows]
};

__device__ inline void load_system(const RefineArguments& a, std::int64_t row, const RowSystem& system) {
  const std::int64_t size = static_cast<std::int64_t>(16) * system.n_tiles;
  for (int i = thread_index(); i < size; i += n_threads()) system.matrix[i] = a.systems[row * size + i];
  __syncthreads();
}

// One block a row.
__global__ void __launch_bounds__(256, 4) factorize_rows(RefineArguments a) {
  const RowSystem system(shared_memory<float>(), a.f);
  const std::int64_t row = a.order[block_x()];
  load_system(a, row, system);
  if (!system.factorize()) {
    if (thread_index() == 0) a.states[row] = RowState::given_up;
    return;
  }
  const std::int64_t size = static_cast<std::int64_t>(16) * system.n_tiles;
  for (int i = thread_index(); i < size; i += n_threads()) a.systems[row * size + i] = system.matrix[i];
  system.take_right_side();
  system.substitute_back();
  for (int c = thread_index(); c < a.f; c += n_threads()) a.x[row * a.f + c] = system.solution()[c];
  const float length = length_of(system.solution(), a.f);
  if (thread_index() != 0) return;
  a.before[row] = length;
  a.states[row] = RowState::open;
}

// One block a row.
__global__ void __launch_bounds__(256, 4) correct_rows(RefineArguments a) {
  const RowSystem system(shared_memory<float>(), a.f);
  const std::int64_t row = a.order[block_x()];
  const RowState state = a.states[row];
  __syncthreads();  // everybody has read what one of them will change
  if (state != RowState::open) return;
  load_system(a, row, system);
  float* const x = system.right;
  const float ridge = a.ridges == nullptr ? 0.0F : a.ridges[row];
  for (int c = thread_index(); c < system.m; c += n_threads()) {
    const bool inside = c < a.f;
    x[c] = inside ? a.x[row * a.f + c] : 0.0F;
    system.reciprocal[c] = inside ? 1.0F / system.entry(tile_index(c / 4, c / 4), c % 4, c % 4) : 0.0F;
    system.solution()[c] = inside ? a.residual[row * a.f + c] - ridge * x[c] : 0.0F;
  }
  __syncthreads();
  system.substitute_forward();
  system.substitute_back();
  const float correction = length_of(system.solution(), a.f);
  const float length = length_of(x, a.f);
  for (int c = thread_index(); c < a.f; c += n_threads()) a.x[row * a.f + c] = x[c] + system.solution()[c];
  if (thread_index() != 0) return;
  if (is_refined(correction, a.before[row], length)) a.states[row] = RowState::refined;
  a.before[row] = correction;
}

// Of any kernel here.
template <typename Arguments>
void launch_refinement(const char* name, void (*kernel)(Arguments), const Arguments& a, std::int64_t n_rows,
                       Stream stream) {
  if (n_rows == 0) return;
  launch(name, kernel, blocks(n_rows), SystemShape::n_threads(a.f), SystemShape::shared_bytes(a.f), stream, a);
}

// Device memory of it beside the systems: a row's, in bytes.
[[nodiscard]] inline std::int64_t refined_row_bytes(std::int64_t f) { return 4 * f + 12; }

}  // namespace recsys::cuda
