#include "recsys/sgd.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cpu/kernel_table.hpp"
#include "cpu/negative_sampler.hpp"
#include "cpu/sgd_schedule.hpp"
#include "cpu/unseen_items.hpp"
#include "recsys/padded_matrix.hpp"
#include "recsys/sparse.hpp"
#include "recsys/thread_pool.hpp"

namespace recsys {
namespace {

constexpr std::int64_t batch = 256;  // entries for which items are drawn before the steps are taken

// Vectors, biases and Adagrad's sums of users, items or features.
class Embeddings {
 public:
  Embeddings(std::int64_t n, std::int64_t f) : vectors_(n, f), states_(n) {
    std::fill_n(states_.data(), n, cpu::SgdState{});
  }

  [[nodiscard]] PaddedMatrix& vectors() { return vectors_; }
  [[nodiscard]] const PaddedMatrix& vectors() const { return vectors_; }
  [[nodiscard]] cpu::SgdState* states() { return states_.data(); }
  [[nodiscard]] const cpu::SgdState* states() const { return states_.data(); }
  [[nodiscard]] cpu::SgdRows rows() { return {vectors_.data(), states_.data()}; }

  void load(MatrixView<const float> vectors, std::span<const float> bias) {
    for (std::int64_t r = 0; r < vectors.rows(); ++r) std::copy_n(vectors.row(r), vectors.cols(), vectors_.row(r));
    for (std::size_t r = 0; r < bias.size(); ++r) states_.data()[r].bias = bias[r];
  }

  void store(MatrixView<float> vectors, std::span<float> bias) const {
    vectors_.copy_to(vectors);
    for (std::size_t r = 0; r < bias.size(); ++r) bias[r] = states_.data()[r].bias;
  }

  [[nodiscard]] bool is_finite() const {
    const auto n = static_cast<std::size_t>(vectors_.rows() * vectors_.ld());
    if (find_nonfinite({vectors_.data(), n}) >= 0) return false;
    return std::all_of(states_.data(), states_.data() + states_.size(),
                       [](const cpu::SgdState& state) { return std::isfinite(state.bias); });
  }

 private:
  PaddedMatrix vectors_;
  AlignedBuffer<cpu::SgdState> states_;
};

bool has_features(const SgdSide& side) { return side.features.cols > 0; }

// Users or items while they are trained.
class Side {
 public:
  Side(const SgdSide& outputs, std::int64_t f)
      : outputs_(outputs),
        own_(outputs.factors.rows(), f),
        shared_(has_features(outputs) ? outputs.features.cols : 0, f) {}

  // New embeddings are random, but zero for rows that are new to it: without an entry, with features.
  void start(std::uint64_t seed, std::uint64_t stream, const std::vector<std::int64_t>& counts) {
    fill_start(own_.vectors(), seed, stream);
    if (!has_features(outputs_)) return;
    fill_start(shared_.vectors(), seed, stream + 2);
    for (std::size_t r = 0; r < counts.size(); ++r) {
      if (counts[r] == 0) std::fill_n(own_.vectors().row(static_cast<std::int64_t>(r)), own_.vectors().cols(), 0.0F);
    }
  }

  // From what the outputs hold: the own embedding is what is left of a sum when the features' are taken away.
  void resume() {
    own_.load(outputs_.factors, outputs_.bias);
    if (!has_features(outputs_)) return;
    shared_.load(outputs_.feature_factors, outputs_.feature_bias);
    add_features(own_, -1.0F);
  }

  void write() const {
    own_.store(outputs_.factors, outputs_.bias);
    if (!has_features(outputs_)) return;
    shared_.store(outputs_.feature_factors, outputs_.feature_bias);
    for_features([&](std::int64_t row, std::int64_t feature, float value) {
      const float* const vector = shared_.vectors().row(feature);
      for (std::int64_t j = 0; j < outputs_.factors.cols(); ++j) outputs_.factors(row, j) += value * vector[j];
      if (!outputs_.bias.empty()) {
        outputs_.bias[static_cast<std::size_t>(row)] += value * shared_.states()[feature].bias;
      }
    });
  }

  [[nodiscard]] bool is_finite() const { return own_.is_finite() && shared_.is_finite(); }

  [[nodiscard]] cpu::SgdModelSide model() {
    if (!has_features(outputs_)) return {own_.rows(), nullptr, nullptr, nullptr, {nullptr, nullptr}};
    return {own_.rows(), outputs_.features.indptr.data(), outputs_.features.indices.data(),
            outputs_.features.values.data(), shared_.rows()};
  }

 private:
  template <typename Visit>
  void for_features(Visit&& visit) const {
    for (std::int64_t row = 0; row < outputs_.features.rows(); ++row) {
      for (std::int64_t at = outputs_.features.begin(row); at < outputs_.features.end(row); ++at) {
        const auto place = static_cast<std::size_t>(at);
        visit(row, outputs_.features.indices[place], outputs_.features.values[place]);
      }
    }
  }

  void add_features(Embeddings& own, float sign) {
    for_features([&](std::int64_t row, std::int64_t feature, float value) {
      const float* const vector = shared_.vectors().row(feature);
      float* const to = own.vectors().row(row);
      for (std::int64_t j = 0; j < own.vectors().cols(); ++j) to[j] += sign * value * vector[j];
      own.states()[row].bias += sign * value * shared_.states()[feature].bias;
    });
  }

  SgdSide outputs_;
  Embeddings own_;
  Embeddings shared_;
};

std::vector<std::int64_t> column_counts(const CsrView& csr) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(csr.cols), 0);
  for (const std::int32_t column : csr.indices) ++counts[static_cast<std::size_t>(column)];
  return counts;
}

std::vector<std::int64_t> row_counts(const CsrView& csr) {
  std::vector<std::int64_t> counts;
  for (std::int64_t row = 0; row < csr.rows(); ++row) counts.push_back(csr.row_size(row));
  return counts;
}

struct Progress {
  double loss = 0.0;
  std::int64_t n_entries = 0;
};

// One fit: what stays the same over its epochs.
class Trainer {
 public:
  Trainer(const CsrView& interactions, const SgdOptions& options, Side& users, Side& items, std::int64_t f,
          bool with_features, std::vector<float> weights)
      : options_(options),
        model_{users.model(), items.model(), f, padded_width(f)},
        kernel_(cpu::kernels().sgd_kernel(options.objective, options.adagrad, with_features)),
        weights_(std::move(weights)),
        n_drawable_(options.objective == SgdObjective::squared || !options.reject_positives
                        ? 0
                        : count_drawable(interactions.cols, weights_)),
        schedule_(interactions, sgd_blocks(interactions, options.popularity_power, n_drawable_),
                  options.objective == SgdObjective::logistic || options.objective == SgdObjective::squared,
                  n_drawable_),
        n_threads_(with_features && options.deterministic ? 1 : resolve_threads(options.n_threads)),
        scratch_(with_features ? n_threads_ * scratch_size() : 0),
        lotteries_(static_cast<std::size_t>(schedule_.n_blocks())),
        parts_(static_cast<std::size_t>(schedule_.n_blocks() * schedule_.n_blocks())) {
    if (options.objective == SgdObjective::squared) {
      share_out(model_.users.own, row_counts(interactions));
      share_out(model_.items.own, column_counts(interactions));
    } else if (options.reject_positives) {
      seen_.emplace(interactions);
      unseen_.emplace(interactions, weights_, n_drawable_, schedule_.n_blocks());
    }
    if (options.objective == SgdObjective::warp) set_trial_losses(interactions.cols);
  }

  Progress epoch(std::int64_t epoch) {
    const std::int64_t n_blocks = schedule_.n_blocks();
    schedule_.deal(options_.seed, epoch, n_threads_);
    if (unseen_.has_value()) unseen_->deal(schedule_.item_blocks(), weights_, n_threads_);
    parallel_for(n_blocks, n_threads_, [&](std::int64_t block, std::int64_t) {
      lotteries_[static_cast<std::size_t>(block)] = ItemLottery(schedule_.block_items(block), weights_);
    });
    const float done = static_cast<float>(epoch) / static_cast<float>(options_.n_epochs);
    const float rate = options_.learning_rate * (options_.linear_decay ? 1.0F - done : 1.0F);
    for (std::int64_t round = 0; round < n_blocks; ++round) {
      parallel_for(n_blocks, n_threads_, [&](std::int64_t user_block, std::int64_t thread) {
        const std::int64_t item_block = (user_block + round) % n_blocks;
        const std::int64_t cell = user_block * n_blocks + item_block;
        parts_[static_cast<std::size_t>(cell)] =
            train_cell(user_block, item_block, epoch_stream(options_.seed, epoch, 2 + static_cast<std::uint64_t>(cell)),
                       rate, thread);
      });
    }
    Progress total;
    for (const Progress& part : parts_) {
      total.loss += part.loss;
      total.n_entries += part.n_entries;
    }
    return total;
  }

 private:
  // Each entry of a row applies an equal part of the row's regularization.
  static void share_out(const cpu::SgdRows& rows, const std::vector<std::int64_t>& counts) {
    for (std::size_t r = 0; r < counts.size(); ++r) {
      rows.states[r].share = 1.0F / static_cast<float>(std::max<std::int64_t>(counts[r], 1));
    }
  }

  [[nodiscard]] std::int64_t scratch_size() const { return (4 + options_.n_negatives) * model_.ld; }

  // L(rank) after t trials, for rank = floor((n - 1) / t).
  void set_trial_losses(std::int64_t n_items) {
    std::vector<double> harmonic(static_cast<std::size_t>(std::max<std::int64_t>(n_items, 2)), 0.0);
    for (std::size_t r = 1; r < harmonic.size(); ++r) harmonic[r] = harmonic[r - 1] + 1.0 / static_cast<double>(r);
    for (std::int64_t trial = 1; trial <= options_.n_negatives; ++trial) {
      const auto rank = static_cast<std::size_t>((n_items - 1) / trial);
      trial_losses_.push_back(static_cast<float>(harmonic[rank] / harmonic.back()));
    }
  }

  Progress train_cell(std::int64_t user_block, std::int64_t item_block, RandomStream random, float rate,
                      std::int64_t thread) {
    Progress progress;
    if (lotteries_[static_cast<std::size_t>(item_block)].empty()) return progress;
    const std::span<cpu::SgdEntry> entries = schedule_.shuffled_cell(user_block, item_block, random);
    const cpu::SgdStep step{rate, options_.regularization, trial_losses_.data(),
                            scratch_.size() > 0 ? scratch_.data() + thread * scratch_size() : nullptr};
    std::vector<std::int32_t> negatives(static_cast<std::size_t>(batch * options_.n_negatives));
    for (std::size_t start = 0; start < entries.size(); start += batch) {
      const auto part = entries.subspan(start, std::min<std::size_t>(batch, entries.size() - start));
      progress.n_entries += options_.objective == SgdObjective::squared
                                ? static_cast<std::int64_t>(part.size())
                                : draw_negatives(part, item_block, random, negatives.data());
      progress.loss += kernel_(
          model_, {part.data(), negatives.data(), static_cast<std::int64_t>(part.size()), options_.n_negatives}, step);
    }
    return progress;
  }

  [[nodiscard]] bool is_listed(std::int32_t user) const { return unseen_.has_value() && unseen_->is_listed(user); }

  // Draws for each entry; in a second pass, when the rows' filters have arrived, again where the user has an entry for
  // what was drawn.  Returns the number of entries that have an item.
  std::int64_t draw_negatives(std::span<const cpu::SgdEntry> entries, std::int64_t item_block, RandomStream& random,
                              std::int32_t* negatives) const {
    const ItemLottery& lottery = lotteries_[static_cast<std::size_t>(item_block)];
    const std::int64_t n = options_.n_negatives;
    std::int32_t* next = negatives;
    for (const cpu::SgdEntry& entry : entries) {
      const bool listed = is_listed(entry.user);
      for (std::int64_t k = 0; k < n; ++k, ++next) {
        if (listed) {
          *next = unseen_->draw(entry.user, item_block, random);
          continue;
        }
        *next = lottery.draw(random);
        if (seen_.has_value()) seen_->prefetch(entry.user, *next);
      }
    }
    if (!seen_.has_value()) return static_cast<std::int64_t>(entries.size());
    std::int64_t n_entries = 0;
    next = negatives;
    for (const cpu::SgdEntry& entry : entries) {
      const bool listed = is_listed(entry.user);
      for (std::int64_t k = 0; k < n && !listed; ++k) {
        next[k] = unless_seen(next[k], lottery, *seen_, entry.user, random);
        if (next[k] < 0) break;  // the step ends there
      }
      n_entries += next[0] >= 0 ? 1 : 0;
      next += n;
    }
    return n_entries;
  }

  SgdOptions options_;
  cpu::SgdModel model_;
  cpu::SgdKernel kernel_;
  std::vector<float> weights_;  // to draw items by; empty for uniform draws
  std::int64_t n_drawable_;     // number of items to draw from; 0 where nothing is rejected
  SgdSchedule schedule_;
  std::int64_t n_threads_;
  AlignedBuffer<float> scratch_;
  std::optional<SeenItems> seen_;
  std::optional<UnseenItems> unseen_;
  std::vector<float> trial_losses_;
  std::vector<ItemLottery> lotteries_;
  std::vector<Progress> parts_;
};

[[noreturn]] void throw_diverged(const SgdOptions& options, std::int64_t epoch) {
  throw ConfigError("learning_rate must keep the factors finite, but they diverged in epoch " + std::to_string(epoch) +
                    "; lower it, got " + std::to_string(options.learning_rate));
}

void check_options(const SgdOptions& options) {
  if (!(options.learning_rate > 0.0F)) {
    throw ConfigError("learning_rate must be above 0, got " + std::to_string(options.learning_rate));
  }
  if (!(options.regularization >= 0.0F)) {
    throw ConfigError("regularization must be 0 or more, got " + std::to_string(options.regularization));
  }
  if (!(options.popularity_power >= 0.0F)) {
    throw ConfigError("popularity_power must be 0 or more, got " + std::to_string(options.popularity_power));
  }
  if (options.n_epochs < 1) {
    throw ConfigError("n_epochs must be 1 or more, got " + std::to_string(options.n_epochs));
  }
  const bool logistic = options.objective == SgdObjective::logistic;
  if (options.n_negatives < 1 || (logistic && options.n_negatives > sgd_most_negatives)) {
    throw ConfigError("n_negatives must be from 1 to " + std::to_string(sgd_most_negatives) + ", got " +
                      std::to_string(options.n_negatives));
  }
}

void check_side(const SgdSide& side, std::int64_t n, std::int64_t f, const std::string& name, bool warm_start) {
  if (side.factors.rows() != n || side.factors.cols() != f) {
    throw ShapeError(name + "_factors must have the shape (" + std::to_string(n) + ", " + std::to_string(f) + ")");
  }
  if (has_features(side)) {
    if (side.features.rows() != n) {
      throw ShapeError(name + "_features must have a row for each of the " + std::to_string(n) + " " + name +
                       "s, got " + std::to_string(side.features.rows()));
    }
    if (side.feature_factors.rows() != side.features.cols || side.feature_factors.cols() != f) {
      throw ShapeError(name + "_feature_factors must have the shape (" + std::to_string(side.features.cols) + ", " +
                       std::to_string(f) + ")");
    }
    check_structure(side.features, name + "_features");
    check_finite(side.features, name + "_features");
  }
  if (warm_start) {
    check_finite(MatrixView<const float>(side.factors), "initial." + name + "_factors");
    check_finite(side.bias, "initial." + name + "_bias");
    check_finite(MatrixView<const float>(side.feature_factors), "initial." + name + "_feature_factors");
    check_finite(side.feature_bias, "initial." + name + "_feature_bias");
  }
}

}  // namespace

void sgd(const CsrView& interactions, const SgdOptions& options, const SgdSide& users, const SgdSide& items,
         const SgdMonitor& monitor) {
  const std::int64_t f = users.factors.cols();
  check_options(options);
  if (f < 1) throw ConfigError("n_factors must be 1 or more, got " + std::to_string(f));
  check_structure(interactions, "interactions");
  check_sorted(interactions, "interactions");
  check_not_empty(interactions, "interactions");
  check_finite(interactions, "interactions");
  const bool squared = options.objective == SgdObjective::squared;
  if (!squared) check_weights(interactions, "interactions");
  if (squared && (has_features(users) || has_features(items))) {
    throw ConfigError("features must not be given with squared loss");
  }
  check_side(users, interactions.rows(), f, "user", options.warm_start);
  check_side(items, interactions.cols, f, "item", options.warm_start);

  Side user_side(users, f);
  Side item_side(items, f);
  if (options.warm_start) {
    user_side.resume();
    item_side.resume();
  } else {
    user_side.start(options.seed, 1, row_counts(interactions));
    item_side.start(options.seed, 2, column_counts(interactions));
  }
  std::vector<float> weights;
  if (options.popularity_power > 0.0F || has_features(items)) {
    weights = item_weights(interactions, options.popularity_power);
  }
  Trainer trainer(interactions, options, user_side, item_side, f, has_features(users) || has_features(items),
                  std::move(weights));
  std::int64_t last_epoch = 0;
  for (std::int64_t epoch = 0; epoch < options.n_epochs; ++epoch) {
    const Progress progress = trainer.epoch(epoch);
    double loss = std::numeric_limits<double>::quiet_NaN();
    if (progress.n_entries > 0) {
      loss = progress.loss / static_cast<double>(progress.n_entries);
      if (!std::isfinite(loss)) throw_diverged(options, epoch);
    }
    last_epoch = epoch;
    if (monitor.wants_factors) {
      user_side.write();
      item_side.write();
    }
    if (monitor.after_epoch && monitor.after_epoch(epoch, loss)) break;
  }
  // A loss is taken before its step, so the last steps show in no loss.
  if (!user_side.is_finite() || !item_side.is_finite()) throw_diverged(options, last_epoch);
  user_side.write();
  item_side.write();
}

}  // namespace recsys
