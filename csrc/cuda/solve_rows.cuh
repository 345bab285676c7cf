// Regularized least squares, one small system a row and one block a system: recsys/solve_rows.hpp on a device.
//
//   (P + lambda R + sum_k w_k y_k y_k^T) x = b + sum_k t_k y_k,   w_k = c0 + c1 r_k,  t_k = t0 + t1 r_k - o_k - w_k s_k
//
// The entries may come in several launches, where the factors lie on the device tile by tile: the system is then kept
// in device memory in between, and refined as refined_rows.cuh says.
//
// Mixed precision.  The sum of w_k y_k y_k^T is most of the work.  On tensor cores its operands are rounded to 11 bits
// and the solution is off in proportion; it is refined by residuals in float32 of the exact system, 2 n f + f^2 a time,
// until what the last correction leaves is below 1e-6 of the solution, judged by how much smaller it was than the one
// before.  A row for which three corrections do not get there, or whose rounded matrix is not positive definite, is
// solved again in float32: the answer is that of float32 in any case.
//
// Every sum has a fixed order: the same bits in every run, whatever the other rows.  n f^2 / 2 + f^3 / 6 multiply-adds
// a row; shared memory 2 f^2 + 130 f bytes and a little.
#pragma once

#include "cuda/rank_update.cuh"
#include "recsys/solve_rows.hpp"

namespace recsys::cuda {

struct SolveArguments {
  const std::int64_t* indptr;
  const std::int32_t* columns;
  const float* values;
  const std::int32_t* order;  // the rows to solve, one a block
  const float* factors;       // rows `stride` apart
  std::int64_t stride;
  std::int32_t f;
  const float* prior;         // P, rows `prior_stride` apart; null: the identity
  const float* ridge_matrix;  // R, likewise; null: the identity
  std::int64_t prior_stride;
  const float* ridges;      // [n_rows]: lambda, or null for zeros
  const float* right_side;  // b [n_rows, f], or null
  const float* offset;      // o [n_items], or null
  const float* scores;      // s [entries], or null
  RowWeights weights;
  float* systems;          // [n_rows, matrix_floats]: kept between launches, or null
  bool begins;             // else the system goes on from `systems`
  bool ends;               // else it is kept there
  float* out;              // [n_rows, f]
  std::int32_t* failed;    // the lowest row whose system is not positive definite
  std::int64_t first_row;  // what `failed` calls row 0
};

// One row of a launch.
struct RowTask {
  std::int64_t row;
  std::int64_t begin;
  std::int64_t end;
  float ridge;
};

__device__ inline void begin_system(const SolveArguments& a, const RowTask& task, const RowSystem& system) {
  const std::int64_t size = static_cast<std::int64_t>(16) * system.n_tiles;
  if (!a.begins) {
    for (int i = thread_index(); i < size; i += n_threads()) system.matrix[i] = a.systems[task.row * size + i];
    return;
  }
  const auto of = [&](const float* matrix, int r, int c) {
    return matrix == nullptr ? (r == c ? 1.0F : 0.0F) : matrix[static_cast<std::int64_t>(r) * a.prior_stride + c];
  };
  for (int t = thread_index(); t < system.n_tiles; t += n_threads()) {
    const int2 place = triangle_place(t);
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int r = place.x * 4 + i / 4;
      const int c = place.y * 4 + i % 4;
      float value = 0;
      if (r < a.f && c < a.f) {
        value = of(a.prior, r, c);
        if (task.ridge != 0.0F) value += task.ridge * of(a.ridge_matrix, r, c);
      } else if (r == a.f && c < a.f && a.right_side != nullptr) {
        value = a.right_side[task.row * a.f + c];
      }
      system.entry(t, i / 4, i % 4) = value;
    }
  }
}

__device__ inline void keep_system(const SolveArguments& a, std::int64_t row, const RowSystem& system) {
  const int size = 16 * system.n_tiles;
  for (int i = thread_index(); i < size; i += n_threads()) a.systems[row * size + i] = system.matrix[i];
}

// Weights and targets of the panel's entries.
__device__ inline void weigh_panel(const SolveArguments& a, const RowSystem& system, std::int64_t start, int count) {
  const int k = thread_index();
  if (k >= SystemShape::panel) return;
  const bool inside = k < count;
  const float value = inside ? a.values[start + k] : 0.0F;
  const float weight = inside ? a.weights.confidence_base + a.weights.confidence_slope * value : 0.0F;
  float target = inside ? a.weights.target_base + a.weights.target_slope * value : 0.0F;
  if (inside && a.offset != nullptr) target -= a.offset[a.columns[start + k]];
  if (inside && a.scores != nullptr) target -= weight * a.scores[start + k];
  system.weights[k] = weight;
  system.targets[k] = target;
}

template <bool on_tensor_cores>
__device__ void add_entries(const SolveArguments& a, const RowTask& task, const RowSystem& system) {
  for (std::int64_t start = task.begin; start < task.end; start += SystemShape::panel) {
    const std::int64_t rest = task.end - start;
    const int count = rest < SystemShape::panel ? static_cast<int>(rest) : SystemShape::panel;
    weigh_panel(a, system, start, count);
    __syncthreads();
    for (int i = thread_index(); i < SystemShape::panel * system.m; i += n_threads()) {
      const int k = i / system.m;
      const int c = i % system.m;
      float value = 0;
      if (k < count && c < a.f) value = a.factors[a.columns[start + k] * a.stride + c];
      system.right[i] = value;
      system.left[i] = c == a.f ? system.targets[k] : system.weights[k] * value;
    }
    __syncthreads();
    if (on_tensor_cores) {
      add_panel_by_tensor_cores(system);
    } else {
      add_panel(system);
    }
    __syncthreads();
  }
  __syncthreads();  // also where there was nothing to gather
}

// Puts b + sum t_k y_k - (P + lambda R + sum w_k y_k y_k^T) x into the system's solution; x [f] in shared memory.
__device__ inline void take_residual(const SolveArguments& a, const RowTask& task, const RowSystem& system,
                                     const float* x) {
  float* const residual = system.solution();
  for (int c = thread_index(); c < system.m; c += n_threads()) {
    float sum = 0;
    for (int i = 0; c < a.f && i < a.f; ++i) sum = __fmaf_rn(a.prior[i * a.prior_stride + c], x[i], sum);
    residual[c] = c < a.f ? -sum - task.ridge * x[c] : 0.0F;
  }
  for (std::int64_t start = task.begin; start < task.end; start += SystemShape::panel) {
    const std::int64_t rest = task.end - start;
    const int count = rest < SystemShape::panel ? static_cast<int>(rest) : SystemShape::panel;
    __syncthreads();  // the panel before has been used
    weigh_panel(a, system, start, count);
    __syncthreads();
    for (int k = warp_index(); k < count; k += n_warps()) {
      const float* const y = a.factors + a.columns[start + k] * a.stride;
      float score = 0;
      for (int c = lane_index(); c < a.f; c += warp_size) score = __fmaf_rn(y[c], x[c], score);
      score = warp_sum(score);
      if (lane_index() == 0) system.targets[k] -= system.weights[k] * score;
    }
    __syncthreads();
    for (int c = thread_index(); c < a.f; c += n_threads()) {
      float sum = residual[c];
      for (int k = 0; k < count; ++k) {
        sum = __fmaf_rn(system.targets[k], a.factors[a.columns[start + k] * a.stride + c], sum);
      }
      residual[c] = sum;
    }
  }
  __syncthreads();
}

// The length of a vector in shared memory; the same bits in every thread.
__device__ inline float length_of(const float* vector, int n) {
  float sum = 0;
  for (int c = lane_index(); c < n; c += warp_size) sum = __fmaf_rn(vector[c], vector[c], sum);
  return sqrtf(warp_sum(sum));
}

inline constexpr int most_corrections = 3;

// Whether a solution of `length` is that of the exact system, by its last correction and the one before.
__device__ inline bool is_refined(float correction, float before, float length) {
  constexpr float tolerance = 1e-6F;
  // What is left is to this correction as it was to the one before.  Written so that a NaN is not refined.
  const bool falls = correction <= 0.5F * before && correction * correction <= tolerance * length * before;
  return falls || correction == 0.0F;
}

// Corrects the solution of the factorized, rounded system; returns whether it has become that of the exact one.
__device__ inline bool refine(const SolveArguments& a, const RowTask& task, const RowSystem& system) {
  float* const x = system.right;  // the panels are done with
  for (int c = thread_index(); c < a.f; c += n_threads()) x[c] = system.solution()[c];
  __syncthreads();
  float before = length_of(x, a.f);
  bool refined = false;
  for (int step = 0; step < most_corrections && !refined; ++step) {
    take_residual(a, task, system, x);
    system.substitute_forward();
    system.substitute_back();
    const float correction = length_of(system.solution(), a.f);
    const float length = length_of(x, a.f);
    __syncthreads();
    for (int c = thread_index(); c < a.f; c += n_threads()) x[c] += system.solution()[c];
    __syncthreads();
    refined = is_refined(correction, before, length);
    before = correction;
  }
  for (int c = thread_index(); c < a.f; c += n_threads()) system.solution()[c] = x[c];
  __syncthreads();
  return refined;
}

// Four blocks a multiprocessor by registers, as by shared memory at 128 factors.
template <bool mixed>
__global__ void __launch_bounds__(256, 4) solve_rows_kernel(SolveArguments a) {
  const RowSystem system(shared_memory<float>(), a.f);
  const std::int64_t row = a.order[block_x()];
  const RowTask task{row, a.indptr[row], a.indptr[row + 1], a.ridges == nullptr ? 0.0F : a.ridges[row]};
  bool solved = false;
  if (mixed) {
    begin_system(a, task, system);
    add_entries<true>(a, task, system);
    if (system.factorize()) {
      system.take_right_side();
      system.substitute_back();
      solved = refine(a, task, system);
    }
  }
  if (!solved) {
    begin_system(a, task, system);
    add_entries<false>(a, task, system);
    if (!a.ends) return keep_system(a, row, system);
    if (!system.factorize()) {
      if (thread_index() == 0) atomicMin(a.failed, static_cast<std::int32_t>(a.first_row + row));
      for (int c = thread_index(); c < a.f; c += n_threads()) a.out[row * a.f + c] = 0.0F;
      return;
    }
    system.take_right_side();
    system.substitute_back();
  }
  for (int c = thread_index(); c < a.f; c += n_threads()) a.out[row * a.f + c] = system.solution()[c];
}

namespace detail {

// The widest factors whose system fits a block's shared memory on the current device.
inline std::int64_t widest_system() {
  const std::int64_t room = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  int f = 1;
  while (SystemShape::shared_bytes(f + 1) <= room) ++f;
  return f;
}

}  // namespace detail

// Solves the rows of `order` into out; the others are not touched.  A row that fails is zeros.  `mixed` needs all
// entries in one launch (else see refined_rows.cuh), a prior, no ridge matrix, no right side and no scores.
inline void launch_solve_rows(const SolveArguments& arguments, std::int64_t n_rows, bool mixed, Stream stream) {
  if (n_rows == 0) return;
  launch("solve_rows", mixed ? solve_rows_kernel<true> : solve_rows_kernel<false>, blocks(n_rows),
         SystemShape::n_threads(arguments.f), SystemShape::shared_bytes(arguments.f), stream, arguments);
}

}  // namespace recsys::cuda
