#include "cpu/als_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys::detail {
namespace {

constexpr std::int64_t block_rows = 8;   // rows that enter and leave whitened coordinates together
constexpr std::int64_t panel_rows = 64;  // entries gathered at a time

// One pass of a row over its blocks of coordinates; one a thread.
//
// With the scores s_k = z_k . x kept up to date, a block p of x moves by the solution of
//
//   (I + sum_k c_k z_kp z_kp^T) step = sum_k (t_k - c_k s_k) z_kp - x_p
class SubspacePass {
 public:
  SubspacePass(const RowSystems& systems, const PaddedMatrix& ridge, std::int64_t block_size)
      : systems_(systems),
        ridge_(ridge),
        block_(std::min(block_size, systems.factors.cols)),
        ld_(padded_width(block_) + 16),
        matrix_(zeroed_floats(checked_product((block_ + 7) / 8 * 8, ld_))),
        panel_(zeroed_floats(panel_rows * ld_)),
        step_(zeroed_floats(ld_)),
        scratch_(zeroed_floats(cpu::cholesky_scratch * ((block_ + 7) / 8 * 8))) {}

  // Improves x, whose ridge is `own`.
  void run(const cpu::KernelTable& kernels, std::int64_t row, float own, float* x) {
    const std::int64_t f = systems_.factors.cols;
    const std::int64_t n = systems_.rows.row_size(row);
    const std::int32_t* const columns = systems_.rows.row_indices(row).data();
    scores_.assign(static_cast<std::size_t>(n), 0.0F);
    kernels.add_products(systems_.factors.data, systems_.factors.ld, f, columns, n, x, scores_.data());
    for (std::int64_t first = 0; first < f; first += block_) {
      const std::int64_t d = std::min(block_, f - first);
      start(first, d, own, x);
      add(kernels, row, columns, n, first, d);
      // Positive definite but for rounding, which a block is left alone for.
      if (kernels.cholesky_solve(matrix_.data(), (d + 7) / 8 * 8, ld_, scratch_.data(), step_.data()) >= 0) continue;
      for (std::int64_t j = 0; j < d; ++j) x[first + j] += step_.data()[j];
      kernels.add_products(systems_.factors.data + first, systems_.factors.ld, d, columns, n, step_.data(),
                           scores_.data());
    }
  }

 private:
  void start(std::int64_t first, std::int64_t d, float own, const float* x) {
    std::memset(matrix_.data(), 0, static_cast<std::size_t>(matrix_.size()) * sizeof(float));
    std::memset(step_.data(), 0, static_cast<std::size_t>(step_.size()) * sizeof(float));
    for (std::int64_t i = 0; i < (d + 7) / 8 * 8; ++i) matrix_.data()[i * ld_ + i] = 1.0F;
    for (std::int64_t i = 0; i < d; ++i) step_.data()[i] = -x[first + i];
    if (ridge_.rows() == 0) return;
    for (std::int64_t i = 0; i < d; ++i) {
      const float* const from = ridge_.row(first + i);
      for (std::int64_t j = 0; j < d; ++j) matrix_.data()[i * ld_ + j] += own * from[first + j];
      float image = 0.0F;
      for (std::int64_t j = 0; j < ridge_.cols(); ++j) image += from[j] * x[j];
      step_.data()[i] -= own * image;
    }
  }

  void add(const cpu::KernelTable& kernels, std::int64_t row, const std::int32_t* columns, std::int64_t n,
           std::int64_t first, std::int64_t d) {
    const float* const values = systems_.rows.row_values(row).data();
    const RowWeights& weights = systems_.weights;
    if (d < block_) {  // the last block is narrower: what the others left beyond it must not enter
      std::memset(panel_.data(), 0, static_cast<std::size_t>(panel_.size()) * sizeof(float));
    }
    float scales[panel_rows];
    float targets[panel_rows];
    for (std::int64_t at = 0; at < n; at += panel_rows) {
      const std::int64_t count = std::min(panel_rows, n - at);
      for (std::int64_t k = 0; k < count; ++k) {
        const float confidence = weights.confidence_base + weights.confidence_slope * values[at + k];
        scales[k] = std::sqrt(confidence);
        targets[k] = weights.target_base + weights.target_slope * values[at + k] -
                     confidence * scores_[static_cast<std::size_t>(at + k)];
      }
      kernels.gather_rows(systems_.factors.data + first, systems_.factors.ld, d, columns + at, count, scales, targets,
                          ld_, panel_.data(), step_.data());
      kernels.symmetric_update(panel_.data(), panel_.data(), count, d, ld_, matrix_.data(), ld_);
    }
  }

  const RowSystems& systems_;
  const PaddedMatrix& ridge_;
  std::int64_t block_;
  std::int64_t ld_;
  AlignedBuffer<float> matrix_, panel_, step_, scratch_;
  std::vector<float> scores_;
};

}  // namespace

RowPlan plan_iterative_rows(const CsrView& rows, std::int64_t f) {
  return {schedule_rows(row_costs(rows, f / 8 + 8), block_rows), {}};
}

Strided whiten_all(const Whitening& whitening, const Strided& vectors, PaddedMatrix& out, std::int64_t n_threads) {
  constexpr std::int64_t task_rows = 256;
  const cpu::KernelTable& kernels = cpu::kernels();
  parallel_for((vectors.rows + task_rows - 1) / task_rows, n_threads, [&](std::int64_t task, std::int64_t) {
    const std::int64_t first = task * task_rows;
    const std::int64_t count = std::min(task_rows, vectors.rows - first);
    whitening.whiten(kernels, vectors.data + first * vectors.ld, vectors.ld, count, out.row(first), out.ld());
  });
  return {out.data(), vectors.rows, vectors.cols, out.ld()};
}

void refine_rows(const RowSystems& systems, const RowSchedule& schedule, const Refinement& refinement, float* out,
                 std::int64_t out_ld, std::int64_t n_threads) {
  const cpu::KernelTable& kernels = cpu::kernels();
  const std::int64_t f = systems.factors.cols;
  const std::int64_t ld = systems.factors.ld;
  const cpu::CgWeights weights{systems.weights.confidence_base, systems.weights.confidence_slope,
                               systems.weights.target_base, systems.weights.target_slope};
  const PaddedMatrix ridge = systems.ridges.empty() ? PaddedMatrix(0, f) : systems.whitening->ridge();
  std::vector<AlignedBuffer<float>> scratch(static_cast<std::size_t>(n_threads));
  std::vector<std::optional<SubspacePass>> passes(static_cast<std::size_t>(n_threads));
  parallel_for(schedule.n_tasks(), n_threads, [&](std::int64_t task, std::int64_t thread) {
    AlignedBuffer<float>& work = scratch[static_cast<std::size_t>(thread)];
    if (work.size() == 0) work = zeroed_floats((2 * block_rows + 3) * ld);
    std::optional<SubspacePass>& pass = passes[static_cast<std::size_t>(thread)];
    if (refinement.block_size > 0 && !pass) pass.emplace(systems, ridge, refinement.block_size);
    float* const outside = work.data();
    float* const inside = outside + block_rows * ld;
    const std::int64_t stop = schedule.starts[static_cast<std::size_t>(task) + 1];
    for (std::int64_t place = schedule.starts[static_cast<std::size_t>(task)]; place < stop; place += block_rows) {
      const std::int64_t count = std::min(block_rows, stop - place);
      const std::int64_t* const order = schedule.order.data() + place;
      for (std::int64_t r = 0; r < count; ++r) {
        std::memcpy(outside + r * ld, out + order[r] * out_ld, static_cast<std::size_t>(ld) * sizeof(float));
      }
      systems.whitening->enter(kernels, outside, ld, count, inside);
      for (std::int64_t r = 0; r < count; ++r) {
        const std::int64_t row = order[r];
        const cpu::CgRow entries{systems.rows.row_indices(row).data(), systems.rows.row_values(row).data(),
                                 systems.rows.row_size(row), inside + r * ld};
        const float own = systems.ridges.empty() ? 0.0F : systems.ridges[static_cast<std::size_t>(row)];
        if (pass) {
          pass->run(kernels, row, own, inside + r * ld);
          continue;
        }
        kernels.cg_solve(entries, systems.factors.data, ld, f, weights, systems.ridges.empty() ? nullptr : ridge.data(),
                         own, refinement.n_cg_steps, inside + block_rows * ld);
      }
      systems.whitening->leave(kernels, inside, ld, count, outside);
      for (std::int64_t r = 0; r < count; ++r) {
        std::memcpy(out + order[r] * out_ld, outside + r * ld, static_cast<std::size_t>(ld) * sizeof(float));
      }
    }
  });
}

}  // namespace recsys::detail
