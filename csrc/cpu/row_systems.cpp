#include "cpu/row_systems.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

#include "cpu/kernel_table.hpp"
#include "cpu/non_negative.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys::detail {
namespace {

// Rows gathered at a time: enough to hide loading and storing the matrix's tiles, few enough that the panel stays close
// to the registers.
constexpr std::int64_t panel_rows = 64;
constexpr std::int64_t block_rows = 8;  // solutions that leave whitened coordinates together

// A row of more entries is cut into parts of at least this many, and at most most_parts of them.
constexpr std::int64_t part_entries = 8192;
constexpr std::int64_t most_parts = 64;

// Row stride of matrix and panel.  Strides that are multiples of 256 bytes would map a column to a few cache sets.
std::int64_t scratch_width(std::int64_t n) {
  const std::int64_t width = padded_width(n);
  return width % 64 == 0 ? width + 16 : width;
}

std::int64_t tile_multiple(std::int64_t n) { return (n + 7) / 8 * 8; }  // whole register tiles at every ISA level

// Multiply-adds of a row in either form, with what else they do in the same unit.
std::int64_t direct_cost(std::int64_t n, std::int64_t f) { return f * (n * (f + 16) / 2 + f * f / 6 + 8 * f); }
std::int64_t dual_cost(std::int64_t n, std::int64_t f) { return n * (n * f / 2 + n * n / 6 + 12 * f + 8 * n); }

bool dual_pays(std::int64_t n, std::int64_t f, bool whitened) {
  if (n >= f) return false;
  return dual_cost(n, f) + (whitened ? 0 : n * f * f / 2) < direct_cost(n, f);
}

// One thread's workspace.
struct Workspace {
  AlignedBuffer<float> matrix, panel, transposed, whitened, scratch, rhs, block, left;
  std::vector<float> scales, targets;
  std::vector<std::int32_t> ordinals;

  void prepare(std::int64_t f, bool dual, bool whitens) {
    if (matrix.size() > 0) return;
    const std::int64_t ld = scratch_width(f);
    const std::int64_t tallest = std::max(panel_rows, padded_width(f));
    matrix = zeroed_floats(checked_product(tile_multiple(f), ld));
    panel = zeroed_floats(tallest * ld);
    if (dual) transposed = zeroed_floats(tallest * ld);
    if (whitens) whitened = zeroed_floats(tallest * ld);
    scratch = zeroed_floats(cpu::cholesky_scratch * tile_multiple(f));
    rhs = zeroed_floats(ld);
    block = zeroed_floats(block_rows * padded_width(f));
    left = zeroed_floats(block_rows * padded_width(f));
    scales.resize(static_cast<std::size_t>(tallest));
    targets.resize(static_cast<std::size_t>(tallest));
    ordinals.resize(static_cast<std::size_t>(tallest));
    std::iota(ordinals.begin(), ordinals.end(), 0);
  }
};

class RowSolver {
 public:
  RowSolver(const RowSystems& systems, const cpu::KernelTable& kernels)
      : systems_(systems),
        kernels_(kernels),
        f_(systems.factors.cols),
        ld_(scratch_width(f_)),
        whitened_(systems.prior.empty()),
        ridge_(systems.ridges.empty() || !whitened_ ? PaddedMatrix(0, f_) : systems.whitening->ridge()) {}

  void prepare(Workspace& work) const {
    const bool dual = systems_.whitening != nullptr && systems_.ridges.empty();
    work.prepare(f_, dual, dual && !whitened_);
  }

  // Solves a row into to [f rounded up to 16].  Returns whether it did; `inside` says whether the solution is in
  // whitened coordinates.
  bool solve(std::int64_t row, Workspace& work, float* to, bool* inside) const {
    const std::int64_t n = systems_.rows.row_size(row);
    *inside = whitened_;
    if (systems_.whitening != nullptr && systems_.ridges.empty() && dual_pays(n, f_, whitened_) &&
        weigh(row, 0, n, work) >= 0.0F) {
      *inside = true;
      solve_dual(row, n, work, to);
      return true;
    }
    start(row, work.matrix.data(), work.rhs.data());
    add(row, 0, n, work, work.matrix.data(), work.rhs.data());
    return finish(work.matrix.data(), work.rhs.data(), work, to);
  }

  // Sets matrix and right side to the prior's.
  void start(std::int64_t row, float* matrix, float* rhs) const {
    std::memset(rhs, 0, static_cast<std::size_t>(ld_) * sizeof(float));
    const std::int64_t n_rows = tile_multiple(f_);
    for (std::int64_t i = 0; i < n_rows; ++i) {
      float* const to = matrix + i * ld_;
      const std::int64_t first = i / 16 * 16;
      if (i < f_ && !whitened_) {
        std::memcpy(to + first, systems_.prior.data() + i * f_ + first,
                    static_cast<std::size_t>(f_ - first) * sizeof(float));
        std::memset(to + f_, 0, static_cast<std::size_t>(padded_width(f_) - f_) * sizeof(float));
        if (!systems_.ridges.empty()) to[i] += systems_.ridges[static_cast<std::size_t>(row)];
        continue;
      }
      std::memset(to + first, 0, static_cast<std::size_t>(padded_width(f_) - first) * sizeof(float));
      if (i < f_ && !systems_.ridges.empty()) {
        const float scale = systems_.ridges[static_cast<std::size_t>(row)];
        for (std::int64_t j = first; j < f_; ++j) to[j] = scale * ridge_.row(i)[j];
      }
      to[i] += 1.0F;
    }
  }

  // Adds the row's entries [begin, end) to matrix and right side.
  void add(std::int64_t row, std::int64_t begin, std::int64_t end, Workspace& work, float* matrix, float* rhs) const {
    const std::int32_t* const columns = systems_.rows.row_indices(row).data();
    for (std::int64_t at = begin; at < end; at += panel_rows) {
      const std::int64_t count = std::min(panel_rows, end - at);
      const float lowest = weigh(row, at, count, work);
      gather(columns + at, count, work, work.panel.data(), rhs);
      if (lowest >= 0.0F) {
        kernels_.symmetric_update(work.panel.data(), work.panel.data(), count, f_, ld_, matrix, ld_);
      } else {
        add_signed(columns + at, count, work, matrix);
      }
    }
  }

  // Solves what start and add have made.
  bool finish(float* matrix, float* rhs, Workspace& work, float* to) const {
    if (systems_.non_negative) return solve_non_negative(kernels_, matrix, f_, ld_, rhs, to);
    const std::int64_t failed = kernels_.cholesky_solve(matrix, tile_multiple(f_), ld_, work.scratch.data(), rhs);
    std::memcpy(to, rhs, static_cast<std::size_t>(f_) * sizeof(float));
    return failed < 0;
  }

 private:
  // Square roots of the entries' confidences, and their targets.  Returns the least confidence; of a negative one the
  // root is that of its absolute value.
  float weigh(std::int64_t row, std::int64_t begin, std::int64_t count, Workspace& work) const {
    const auto values = systems_.rows.row_values(row).subspan(static_cast<std::size_t>(begin));
    const RowWeights& weights = systems_.weights;
    float lowest = 0.0F;
    for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) {
      const float confidence = weights.confidence_base + weights.confidence_slope * values[k];
      lowest = std::min(lowest, confidence);
      work.scales[k] = std::sqrt(std::abs(confidence));
      work.targets[k] = weights.target_base + weights.target_slope * values[k];
    }
    if (!systems_.item_offset.empty()) {
      const auto columns = systems_.rows.row_indices(row).subspan(static_cast<std::size_t>(begin));
      for (std::size_t k = 0; k < static_cast<std::size_t>(count); ++k) {
        work.targets[k] -= systems_.item_offset[static_cast<std::size_t>(columns[k])];
      }
    }
    return lowest;
  }

  void gather(const std::int32_t* columns, std::int64_t count, Workspace& work, float* panel, float* rhs) const {
    kernels_.gather_rows(systems_.factors.data, systems_.factors.ld, f_, columns, count, work.scales.data(),
                         work.targets.data(), ld_, panel, rhs);
  }

  // An entry of negative confidence is subtracted: the right panel has its row's sign turned.
  void add_signed(const std::int32_t* columns, std::int64_t count, Workspace& work, float* matrix) const {
    const RowWeights& weights = systems_.weights;
    AlignedBuffer<float> turned = zeroed_floats(panel_rows * ld_);
    std::memcpy(turned.data(), work.panel.data(), static_cast<std::size_t>(count * ld_) * sizeof(float));
    const std::int32_t* const all = systems_.rows.indices.data();
    const float* const values = systems_.rows.values.data() + (columns - all);
    for (std::int64_t k = 0; k < count; ++k) {
      if (weights.confidence_base + weights.confidence_slope * values[k] >= 0.0F) continue;
      for (std::int64_t j = 0; j < f_; ++j) turned.data()[k * ld_ + j] = -turned.data()[k * ld_ + j];
    }
    kernels_.symmetric_update(work.panel.data(), turned.data(), count, f_, ld_, matrix, ld_);
  }

  void solve_dual(std::int64_t row, std::int64_t n, Workspace& work, float* to) const {
    const std::int32_t* columns = systems_.rows.row_indices(row).data();
    const float* factors = systems_.factors.data;
    std::int64_t stride = systems_.factors.ld;
    if (!whitened_) {
      for (std::int64_t k = 0; k < n; ++k) {
        std::memcpy(work.panel.data() + k * ld_, factors + columns[k] * stride,
                    static_cast<std::size_t>(f_) * sizeof(float));
      }
      systems_.whitening->whiten(kernels_, work.panel.data(), ld_, n, work.whitened.data(), ld_);
      factors = work.whitened.data();
      columns = work.ordinals.data();
      stride = ld_;
    }
    kernels_.dual_solve(factors, stride, f_, columns, n, work.scales.data(), work.targets.data(), scratch_width(n),
                        work.transposed.data(), work.matrix.data(), work.scratch.data(), work.rhs.data(), to);
  }

  const RowSystems& systems_;
  const cpu::KernelTable& kernels_;
  std::int64_t f_;
  std::int64_t ld_;
  bool whitened_;
  PaddedMatrix ridge_;
};

void lower(std::atomic<std::int64_t>& smallest, std::int64_t value) {
  std::int64_t seen = smallest.load(std::memory_order_relaxed);
  while (value < seen && !smallest.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

// Collects solutions in whitened coordinates and writes them out a block at a time.
class Departures {
 public:
  Departures(const RowSystems& systems, const cpu::KernelTable& kernels, Workspace& work, float* out,
             std::int64_t out_ld)
      : systems_(systems), kernels_(kernels), work_(work), out_(out), out_ld_(out_ld) {}

  [[nodiscard]] float* next() const { return work_.block.data() + count_ * ld(); }
  void add(std::int64_t row) {
    rows_[count_++] = row;
    if (count_ == block_rows) flush();
  }
  void flush() {
    if (count_ == 0) return;
    systems_.whitening->leave(kernels_, work_.block.data(), ld(), count_, work_.left.data());
    for (std::int64_t r = 0; r < count_; ++r) write(rows_[r], work_.left.data() + r * ld());
    count_ = 0;
  }
  void write(std::int64_t row, const float* solution) const {
    std::memcpy(out_ + row * out_ld_, solution, static_cast<std::size_t>(systems_.factors.cols) * sizeof(float));
  }

 private:
  [[nodiscard]] std::int64_t ld() const { return padded_width(systems_.factors.cols); }

  const RowSystems& systems_;
  const cpu::KernelTable& kernels_;
  Workspace& work_;
  float* out_;
  std::int64_t out_ld_;
  std::int64_t rows_[block_rows] = {};
  std::int64_t count_ = 0;
};

// Solves one row of very many entries: each part sums a matrix of its own, and the parts are added up in order.
bool solve_in_parts(const RowSolver& solver, const RowSystems& systems, std::int64_t row,
                    std::vector<Workspace>& workspaces, float* to, std::int64_t n_threads) {
  const std::int64_t n = systems.rows.row_size(row);
  const std::int64_t ld = scratch_width(systems.factors.cols);
  const std::int64_t size = tile_multiple(systems.factors.cols) * ld;
  const std::int64_t entries = std::max(part_entries, (n + most_parts - 1) / most_parts);
  const std::int64_t n_parts = (n + entries - 1) / entries;
  AlignedBuffer<float> parts = zeroed_floats(checked_product(n_parts, size + ld));
  solver.start(row, parts.data(), parts.data() + size);
  parallel_for(n_parts, n_threads, [&](std::int64_t part, std::int64_t thread) {
    Workspace& work = workspaces[static_cast<std::size_t>(thread)];
    solver.prepare(work);
    float* const matrix = parts.data() + part * (size + ld);
    solver.add(row, part * entries, std::min(n, (part + 1) * entries), work, matrix, matrix + size);
  });
  for (std::int64_t part = 1; part < n_parts; ++part) {
    const float* const from = parts.data() + part * (size + ld);
    for (std::int64_t i = 0; i < size + ld; ++i) parts.data()[i] += from[i];
  }
  return solver.finish(parts.data(), parts.data() + size, workspaces[0], to);
}

}  // namespace

RowPlan plan_rows(const CsrView& rows, std::int64_t f, bool may_be_dual) {
  RowPlan plan;
  std::vector<std::int64_t> costs(static_cast<std::size_t>(rows.rows()), 0);
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    const std::int64_t n = rows.row_size(row);
    if (n == 0) continue;
    if (n > 2 * part_entries) {
      plan.in_parts.push_back(row);
      continue;
    }
    const bool dual = may_be_dual && n < f;
    costs[static_cast<std::size_t>(row)] = dual ? std::min(dual_cost(n, f), direct_cost(n, f)) : direct_cost(n, f);
  }
  plan.schedule = schedule_rows(costs);
  return plan;
}

std::int64_t solve_systems(const RowSystems& systems, const RowPlan& plan, float* out, std::int64_t out_ld,
                           std::int64_t n_threads) {
  const cpu::KernelTable& kernels = cpu::kernels();
  const RowSolver solver(systems, kernels);
  std::vector<Workspace> workspaces(static_cast<std::size_t>(n_threads));
  std::atomic<std::int64_t> failed{systems.rows.rows()};
  const auto fail = [&](std::int64_t row) {
    std::memset(out + row * out_ld, 0, static_cast<std::size_t>(systems.factors.cols) * sizeof(float));
    lower(failed, row);
  };

  for (const std::int64_t row : plan.in_parts) {
    Workspace& work = workspaces[0];
    solver.prepare(work);
    Departures departures(systems, kernels, work, out, out_ld);
    if (!solve_in_parts(solver, systems, row, workspaces, departures.next(), n_threads)) {
      fail(row);
    } else if (systems.prior.empty()) {
      departures.add(row);
      departures.flush();
    } else {
      departures.write(row, departures.next());
    }
  }
  parallel_for(plan.schedule.n_tasks(), n_threads, [&](std::int64_t task, std::int64_t thread) {
    Workspace& work = workspaces[static_cast<std::size_t>(thread)];
    solver.prepare(work);
    Departures departures(systems, kernels, work, out, out_ld);
    const auto stop = plan.schedule.starts[static_cast<std::size_t>(task) + 1];
    for (std::int64_t place = plan.schedule.starts[static_cast<std::size_t>(task)]; place < stop; ++place) {
      const std::int64_t row = plan.schedule.order[static_cast<std::size_t>(place)];
      bool inside = false;
      if (!solver.solve(row, work, departures.next(), &inside)) {
        fail(row);
      } else if (inside) {
        departures.add(row);
      } else {
        departures.write(row, departures.next());
      }
    }
    departures.flush();
  });
  const std::int64_t lowest = failed.load();
  return lowest < systems.rows.rows() ? lowest : -1;
}

std::vector<double> gram(const Strided& factors, std::int64_t n_threads) {
  constexpr std::int64_t most_blocks = 64;
  constexpr std::int64_t least_rows = 512;
  const cpu::KernelTable& kernels = cpu::kernels();
  const std::int64_t f = factors.cols;
  const std::int64_t ld = scratch_width(f);
  const std::int64_t n_summed = std::max(least_rows, (factors.rows + most_blocks - 1) / most_blocks);
  const std::int64_t n_blocks = (factors.rows + n_summed - 1) / n_summed;
  const std::int64_t block_size = checked_product(tile_multiple(f), ld);
  const bool in_place = factors.ld % 16 == 0;  // padded rows can be read where they are
  AlignedBuffer<float> partial = zeroed_floats(checked_product(n_blocks, block_size));
  std::vector<AlignedBuffer<float>> panels(static_cast<std::size_t>(n_threads));

  parallel_for(n_blocks, n_threads, [&](std::int64_t block, std::int64_t thread) {
    AlignedBuffer<float>& panel = panels[static_cast<std::size_t>(thread)];
    const std::int64_t width = padded_width(f);
    if (!in_place && panel.size() == 0) panel = zeroed_floats(panel_rows * width);
    const std::int64_t stop = std::min(factors.rows, (block + 1) * n_summed);
    for (std::int64_t row = block * n_summed; row < stop; row += panel_rows) {
      const std::int64_t count = std::min(panel_rows, stop - row);
      const float* from = factors.data + row * factors.ld;
      if (!in_place) {
        for (std::int64_t k = 0; k < count; ++k) {
          std::memcpy(panel.data() + k * width, from + k * factors.ld, static_cast<std::size_t>(f) * sizeof(float));
        }
        from = panel.data();
      }
      kernels.symmetric_update(from, from, count, f, in_place ? factors.ld : width, partial.data() + block * block_size,
                               ld);
    }
  });

  std::vector<double> out(static_cast<std::size_t>(checked_product(f, f)));
  for (std::int64_t i = 0; i < f; ++i) {
    for (std::int64_t j = i; j < f; ++j) {
      double sum = 0.0;
      for (std::int64_t block = 0; block < n_blocks; ++block) {
        sum += static_cast<double>(partial.data()[block * block_size + i * ld + j]);
      }
      out[static_cast<std::size_t>(i * f + j)] = sum;
      out[static_cast<std::size_t>(j * f + i)] = sum;
    }
  }
  return out;
}

}  // namespace recsys::detail
