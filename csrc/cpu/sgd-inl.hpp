// Stochastic gradient steps of factorizations that learn to rank (recsys/sgd.hpp), for each objective, each rule of
// step lengths, and with features or without.
//
// An entry (u, i) and the items drawn for it make one step.  The objective scores the items and says how strongly each
// is pulled towards x_u: c > 0 towards, c < 0 away; that is the derivative of minus the loss by the item's score.  From
// there on all objectives are alike:
//
//   g = sum_k c_k y_k     x += r (g - reg x)     y_k += r_k (c_k x - reg y_k)     b_k += r_k' (c_k - reg b_k)
//
// all from the values before the step.  The rates r are the learning rate, or with Adagrad (Duchi et al. 2011) the
// learning rate over the root of the row's sum of mean squared gradients, one number a row in place of one a
// coordinate: it costs no memory traffic.  Squares of the loss's gradient and of the regularization's are added up each
// for itself, so that neither moves a row by more than the learning rate, however small the other is.  With features, x
// and y_k are first added up into scratch rows, and every embedding that is in them moves along its own gradient.
//
// Concurrency.  Rows of users and items are one thread's alone while it runs.  Embeddings of features are shared
// without locks: an update may be lost, which costs a little progress and nothing else.  In C++ terms those accesses
// must not be plain loads and stores, which the compiler might repeat or invent.  Words use relaxed atomics.  Vectors
// have no atomics, so they go through volatile accesses: each one is done exactly once, and the 32-bit words of which
// it consists cannot tear on any target.  Under ThreadSanitizer, which knows atomics only, every word is an atomic.
#pragma once

#include "cpu/kernel_table.hpp"
#include "cpu/simd.hpp"
#include "cpu/thread_sanitizer.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

typedef float shared_vfloat __attribute__((vector_size(RECSYS_SIMD_BYTES), aligned(4), may_alias));

#if defined(RECSYS_THREAD_SANITIZER)
RECSYS_INLINE vfloat load_shared(const float* from) {
  vfloat value;
  for (std::int64_t i = 0; i < lanes; ++i) {
    float word;
    __atomic_load(from + i, &word, __ATOMIC_RELAXED);
    value[i] = word;
  }
  return value;
}
RECSYS_INLINE void store_shared(float* to, vfloat value) {
  for (std::int64_t i = 0; i < lanes; ++i) {
    float word = value[i];
    __atomic_store(to + i, &word, __ATOMIC_RELAXED);
  }
}
#else
RECSYS_INLINE vfloat load_shared(const float* from) { return *reinterpret_cast<const volatile shared_vfloat*>(from); }
RECSYS_INLINE void store_shared(float* to, vfloat value) { *reinterpret_cast<volatile shared_vfloat*>(to) = value; }
#endif

RECSYS_INLINE float load_shared_word(const float* from) {
  float word;
  __atomic_load(from, &word, __ATOMIC_RELAXED);
  return word;
}
RECSYS_INLINE void store_shared_word(float* to, float value) { __atomic_store(to, &value, __ATOMIC_RELAXED); }

RECSYS_INLINE void prefetch_row(const SgdRows& rows, std::int64_t row, std::int64_t ld) {
  __builtin_prefetch(rows.states + row, 1);
  for (std::int64_t j = 0; j < ld; j += 16) __builtin_prefetch(rows.vectors + row * ld + j, 1);
}

// An item of a step.
struct SgdItem {
  float* vector;
  float bias;
  float pull;
  std::int32_t row;
};

// Sum of log(1 + odds), the logarithm taken once in many summands.
struct LogLoss {
  double sum = 0.0;
  double product = 1.0;

  RECSYS_INLINE void add(float odds) {
    product *= 1.0 + static_cast<double>(odds);
    if (!(product < 1e200)) {
      sum += __builtin_log(product);
      product = 1.0;
    }
  }
  RECSYS_INLINE double total() const { return sum + __builtin_log(product); }
};

// sigmoid(-margin), and log(1 + exp(-margin)) into the loss.
RECSYS_INLINE float logistic_pull(float margin, float weight, LogLoss& loss) {
  if (margin < -80.0F) {  // log(1 + exp(-m)) is -m to double precision, and exp(-m) overflows
    loss.sum -= static_cast<double>(weight * margin);
    return weight;
  }
  const float odds = __builtin_expf(-margin);
  if (weight == 1.0F) {
    loss.add(odds);
  } else {
    loss.sum += static_cast<double>(weight) * __builtin_log1p(static_cast<double>(odds));
  }
  return weight * odds / (1.0F + odds);
}

RECSYS_INLINE float row_dot(const float* a, const float* b, std::int64_t f) {
  vfloat even = zero(), odd = zero();
  std::int64_t j = 0;
  for (; j + lanes < f; j += 2 * lanes) {
    even += load(a + j) * load(b + j);
    odd += load(a + j + lanes) * load(b + j + lanes);
  }
  if (j < f) even += load(a + j) * load(b + j);
  return sum_lanes(even + odd);
}

RECSYS_INLINE float dot_difference(const float* x, const float* a, const float* b, std::int64_t f) {
  vfloat even = zero(), odd = zero();
  std::int64_t j = 0;
  for (; j + lanes < f; j += 2 * lanes) {
    even += load(x + j) * (load(a + j) - load(b + j));
    odd += load(x + j + lanes) * (load(a + j + lanes) - load(b + j + lanes));
  }
  if (j < f) even += load(x + j) * (load(a + j) - load(b + j));
  return sum_lanes(even + odd);
}

// What Adagrad asks of x and two items a and b: |x|^2, |a|^2, |a - b|^2 and |b|^2, in the first four lanes.
struct PairSquares {
  vfloat sums;
};

// x . (a - b), and the squares in the same pass.
RECSYS_INLINE float dot_difference(const float* x, const float* a, const float* b, std::int64_t f,
                                   PairSquares& squares) {
  vfloat product = zero(), of_x = zero(), of_a = zero(), of_b = zero(), of_difference = zero();
  for (std::int64_t j = 0; j < f; j += lanes) {
    const vfloat u = load(x + j), y = load(a + j), z = load(b + j);
    const vfloat difference = y - z;
    product += u * difference;
    of_x += u * u;
    of_a += y * y;
    of_b += z * z;
    of_difference += difference * difference;
  }
  squares.sums = sums_of_four(of_x, of_difference, of_a, of_b);
  return sum_lanes(product);
}

// Fills in the items of a step and how each is pulled.  Returns their number; 0 is no step.
// `open(row, k)` returns item `row` as the k-th of the step; of a pair, `squares` is filled in for Adagrad.
template <SgdObjective objective, bool adagrad, typename Open>
RECSYS_INLINE std::int64_t pull_items(const float* x, const SgdEntry& entry, const std::int32_t* negatives,
                                      std::int64_t n_negatives, const float* trial_losses, std::int64_t f,
                                      float user_bias, const Open& open, SgdItem* items, PairSquares& squares,
                                      LogLoss& loss) {
  items[0] = open(entry.item, 0);
  if constexpr (objective == SgdObjective::bpr) {
    items[1] = open(negatives[0], 1);
    const float* const a = items[0].vector;
    const float* const b = items[1].vector;
    const float product = adagrad ? dot_difference(x, a, b, f, squares) : dot_difference(x, a, b, f);
    const float margin = product + items[0].bias - items[1].bias;
    items[0].pull = logistic_pull(margin, entry.weight, loss);
    items[1].pull = -items[0].pull;
    return 2;
  } else if constexpr (objective == SgdObjective::warp) {
    const float limit = row_dot(x, items[0].vector, f) + items[0].bias - 1.0F;
    for (std::int64_t trial = 0; trial < n_negatives && negatives[trial] >= 0; ++trial) {
      items[1] = open(negatives[trial], 1);
      const float above = row_dot(x, items[1].vector, f) + items[1].bias - limit;
      if (above > 0.0F) {
        items[0].pull = entry.weight * trial_losses[trial];
        items[1].pull = -items[0].pull;
        loss.sum += static_cast<double>(items[0].pull * above);
        if constexpr (adagrad) dot_difference(x, items[0].vector, items[1].vector, f, squares);
        return 2;
      }
    }
    return 0;
  } else if constexpr (objective == SgdObjective::squared) {
    const float error = entry.weight - (row_dot(x, items[0].vector, f) + items[0].bias + user_bias);
    items[0].pull = error;
    loss.sum += static_cast<double>(error) * static_cast<double>(error);
    return 1;
  } else {
    items[0].pull = logistic_pull(row_dot(x, items[0].vector, f) + items[0].bias, entry.weight, loss);
    std::int64_t n = 1;
    for (; n <= n_negatives && negatives[n - 1] >= 0; ++n) {
      items[n] = open(negatives[n - 1], n);
      items[n].pull = -logistic_pull(-(row_dot(x, items[n].vector, f) + items[n].bias), 1.0F, loss);
    }
    return n;
  }
}

// The rate of a row or bias whose mean squared gradient is now `square`, which `squares` takes up.
template <bool adagrad>
RECSYS_INLINE float rate_of(float& squares, float square, float rate) {
  if constexpr (!adagrad) return rate;
  squares += square;
  return squares > 0.0F ? rate / __builtin_sqrtf(squares) : 0.0F;
}

// Adagrad's rates for several sums of squares at once.  What is added keeps the rate finite where all gradients were
// zero, and vanishes beside any other sum.
RECSYS_INLINE vfloat rates_of(vfloat sums, float rate) {
  return broadcast(rate) / square_root(sums + broadcast(1e-37F));
}

template <bool adagrad>
RECSYS_INLINE void move_bias(SgdState& state, float amount, const SgdStep& step, float share = 1.0F) {
  const float bias = load_shared_word(&state.bias);
  const float shrink = share * step.regularization * bias;
  float squares = load_shared_word(&state.bias_squares);
  const float rate = rate_of<adagrad>(squares, amount * amount + shrink * shrink, step.rate);
  if constexpr (adagrad) store_shared_word(&state.bias_squares, squares);
  store_shared_word(&state.bias, bias + rate * (amount - shrink));
}

// The step without features of two items, pulled with the same strength towards x and away, by Adagrad.  Roots and
// quotients of all five rates are taken at once.
RECSYS_INLINE void move_pair(const SgdModel& model, std::int64_t user, const SgdItem* items, const PairSquares& squares,
                             const SgdStep& step) {
  float* const x = model.users.own.vectors + user * model.ld;
  float* const a = items[0].vector;
  float* const b = items[1].vector;
  SgdState& of_x = model.users.own.states[user];
  SgdState& of_a = model.items.own.states[items[0].row];
  SgdState& of_b = model.items.own.states[items[1].row];
  const float pull = items[0].pull, regularization = step.regularization;
  const float share = 1.0F / static_cast<float>(model.f), pull_square = pull * pull;
  const float loss_share = pull_square * share, shrink_share = regularization * regularization * share;
  const float x_square = squares.sums[0];
  of_x.squares += loss_share * squares.sums[2] + shrink_share * x_square;
  of_a.squares += loss_share * x_square + shrink_share * squares.sums[1];
  of_b.squares += loss_share * x_square + shrink_share * squares.sums[3];
  const float a_shrink = regularization * of_a.bias, b_shrink = regularization * of_b.bias;
  of_a.bias_squares += pull_square + a_shrink * a_shrink;
  of_b.bias_squares += pull_square + b_shrink * b_shrink;

  vfloat row_squares = broadcast(1.0F), bias_squares = broadcast(1.0F);
  row_squares[0] = of_x.squares;
  row_squares[1] = of_a.squares;
  row_squares[2] = of_b.squares;
  bias_squares[0] = of_a.bias_squares;
  bias_squares[1] = of_b.bias_squares;
  const vfloat rates = rates_of(row_squares, step.rate), bias_rates = rates_of(bias_squares, step.rate);
  const vfloat keep = broadcast(1.0F) - rates * broadcast(regularization), move = rates * broadcast(pull);
  const vfloat keep_x = broadcast_lane<0>(keep), move_x = broadcast_lane<0>(move);
  const vfloat keep_a = broadcast_lane<1>(keep), move_a = broadcast_lane<1>(move);
  const vfloat keep_b = broadcast_lane<2>(keep), move_b = broadcast_lane<2>(move);
  for (std::int64_t j = 0; j < model.f; j += lanes) {
    const vfloat u = load(x + j), y = load(a + j);
    store(a + j, keep_a * y + move_a * u);
    const vfloat z = load(b + j);  // after the store: an item drawn against itself moves there and back
    store(b + j, keep_b * z - move_b * u);
    store(x + j, keep_x * u + move_x * (y - z));
  }
  of_a.bias += bias_rates[0] * (pull - a_shrink);
  of_b.bias -= bias_rates[1] * (pull + b_shrink);
}

// The step without features, in one pass over the rows.
template <bool adagrad, std::int64_t fixed_items>
RECSYS_INLINE void move_rows(const SgdModel& model, std::int64_t user, const SgdItem* items, std::int64_t n_items,
                             const SgdStep& step) {
  constexpr std::int64_t most = fixed_items > 0 ? fixed_items : sgd_most_negatives + 1;
  constexpr bool shares = fixed_items == 1;  // squared
  const std::int64_t n = fixed_items > 0 ? fixed_items : n_items;
  float* const x = model.users.own.vectors + user * model.ld;
  float x_rate = step.rate, x_regularization = step.regularization;
  float rates[most], regularization[most];
  if constexpr (shares) x_regularization *= model.users.own.states[user].share;
  for (std::int64_t k = 0; k < n; ++k) {
    regularization[k] = step.regularization;
    if constexpr (shares) regularization[k] *= model.items.own.states[items[k].row].share;
  }
  if constexpr (adagrad) {
    vfloat g_squares = zero(), x_squares = zero(), y_squares[most];
    for (std::int64_t k = 0; k < n; ++k) y_squares[k] = zero();
    for (std::int64_t j = 0; j < model.f; j += lanes) {
      vfloat g = zero();
      for (std::int64_t k = 0; k < n; ++k) {
        const vfloat y = load(items[k].vector + j);
        g += broadcast(items[k].pull) * y;
        y_squares[k] += y * y;
      }
      const vfloat u = load(x + j);
      g_squares += g * g;
      x_squares += u * u;
    }
    const float share = 1.0F / static_cast<float>(model.f);
    const float x_mean = sum_lanes(x_squares) * share;
    x_rate = rate_of<adagrad>(model.users.own.states[user].squares,
                              sum_lanes(g_squares) * share + x_regularization * x_regularization * x_mean, step.rate);
    for (std::int64_t k = 0; k < n; ++k) {
      const float shrink = regularization[k] * regularization[k];
      const float square = items[k].pull * items[k].pull * x_mean + shrink * (sum_lanes(y_squares[k]) * share);
      rates[k] = rate_of<adagrad>(model.items.own.states[items[k].row].squares, square, step.rate);
    }
  } else {
    for (std::int64_t k = 0; k < n; ++k) rates[k] = step.rate;
  }
  for (std::int64_t j = 0; j < model.f; j += lanes) {
    const vfloat u = load(x + j);
    vfloat moved = broadcast(1.0F - x_rate * x_regularization) * u;
    for (std::int64_t k = 0; k < n; ++k) {
      const vfloat y = load(items[k].vector + j);
      moved += broadcast(x_rate * items[k].pull) * y;
      store(items[k].vector + j,
            broadcast(1.0F - rates[k] * regularization[k]) * y + broadcast(rates[k] * items[k].pull) * u);
    }
    store(x + j, moved);
  }
  if constexpr (shares) {
    SgdState &user_state = model.users.own.states[user], &item_state = model.items.own.states[items[0].row];
    move_bias<adagrad>(user_state, items[0].pull, step, user_state.share);
    move_bias<adagrad>(item_state, items[0].pull, step, item_state.share);
    return;
  }
  for (std::int64_t k = 0; k < n; ++k) move_bias<adagrad>(model.items.own.states[items[k].row], items[k].pull, step);
}

// Own vector and those of the features of a row, added up into `sum`; returns the bias.
RECSYS_INLINE float add_up(const SgdModelSide& side, std::int64_t row, std::int64_t f, std::int64_t ld, float* sum) {
  const float* const own = side.own.vectors + row * ld;
  for (std::int64_t j = 0; j < f; j += lanes) store(sum + j, load(own + j));
  float bias = side.own.states[row].bias;
  if (side.indptr == nullptr) return bias;
  for (std::int64_t at = side.indptr[row]; at < side.indptr[row + 1]; ++at) {
    const vfloat value = broadcast(side.values[at]);
    const float* const vector = side.shared.vectors + side.features[at] * ld;
    for (std::int64_t j = 0; j < f; j += lanes) store(sum + j, load(sum + j) + value * load_shared(vector + j));
    bias += side.values[at] * load_shared_word(&side.shared.states[side.features[at]].bias);
  }
  return bias;
}

// One embedding moves by `amount` along `direction`, whose numbers have a mean square of `square`.
template <bool adagrad>
RECSYS_INLINE void move_embedding(const SgdRows& rows, std::int64_t row, float amount, const float* direction,
                                  float square, const SgdModel& model, const SgdStep& step) {
  float* const vector = rows.vectors + row * model.ld;
  float rate = step.rate;
  if constexpr (adagrad) {
    vfloat own_squares = zero();
    for (std::int64_t j = 0; j < model.f; j += lanes) {
      const vfloat own = load_shared(vector + j);
      own_squares += own * own;
    }
    const float shrink = step.regularization * step.regularization * sum_lanes(own_squares);
    float squares = load_shared_word(&rows.states[row].squares);
    rate = rate_of<adagrad>(squares, amount * amount * square + shrink / static_cast<float>(model.f), step.rate);
    store_shared_word(&rows.states[row].squares, squares);
  }
  const vfloat keep = broadcast(1.0F - rate * step.regularization), move = broadcast(rate * amount);
  for (std::int64_t j = 0; j < model.f; j += lanes) {
    store_shared(vector + j, keep * load_shared(vector + j) + move * load(direction + j));
  }
}

template <bool adagrad>
RECSYS_INLINE void move_side(const SgdModelSide& side, std::int64_t row, float amount, const float* direction,
                             float square, const SgdModel& model, const SgdStep& step) {
  move_embedding<adagrad>(side.own, row, amount, direction, square, model, step);
  if (side.indptr == nullptr) return;
  for (std::int64_t at = side.indptr[row]; at < side.indptr[row + 1]; ++at) {
    move_embedding<adagrad>(side.shared, side.features[at], amount * side.values[at], direction, square, model, step);
  }
}

// The step with features; `x` is the user's sum, and `gradient` is scratch for g.
template <bool adagrad>
RECSYS_INLINE void move_sums(const SgdModel& model, std::int64_t user, const float* x, const SgdItem* items,
                             std::int64_t n, float* gradient, const SgdStep& step) {
  vfloat g_squares = zero(), x_squares = zero();
  for (std::int64_t j = 0; j < model.f; j += lanes) {
    vfloat g = zero();
    for (std::int64_t k = 0; k < n; ++k) g += broadcast(items[k].pull) * load(items[k].vector + j);
    const vfloat u = load(x + j);
    g_squares += g * g;
    x_squares += u * u;
    store(gradient + j, g);
  }
  const float share = 1.0F / static_cast<float>(model.f);
  const float g_mean = sum_lanes(g_squares) * share, x_mean = sum_lanes(x_squares) * share;
  move_side<adagrad>(model.users, user, 1.0F, gradient, g_mean, model, step);
  for (std::int64_t k = 0; k < n; ++k) {
    const SgdModelSide& side = model.items;
    const std::int64_t item = items[k].row;
    move_side<adagrad>(side, item, items[k].pull, x, x_mean, model, step);
    move_bias<adagrad>(side.own.states[item], items[k].pull, step);
    if (side.indptr == nullptr) continue;
    for (std::int64_t at = side.indptr[item]; at < side.indptr[item + 1]; ++at) {
      move_bias<adagrad>(side.shared.states[side.features[at]], items[k].pull * side.values[at], step);
    }
  }
}

template <SgdObjective objective, bool adagrad, bool with_features>
inline double sgd_steps(const SgdModel& model, const SgdBatch& batch, const SgdStep& step) {
  constexpr std::int64_t ahead = 4;  // entries are scattered: the hardware cannot foresee their rows
  constexpr bool draws = objective != SgdObjective::squared;
  constexpr std::int64_t fixed_items = objective == SgdObjective::logistic ? 0 : draws ? 2 : 1;
  LogLoss loss;
  PairSquares squares;
  SgdItem items[fixed_items > 0 ? fixed_items : sgd_most_negatives + 1];
  for (std::int64_t t = 0; t < batch.n; ++t) {
    if (t + ahead < batch.n) {
      prefetch_row(model.users.own, batch.entries[t + ahead].user, model.ld);
      prefetch_row(model.items.own, batch.entries[t + ahead].item, model.ld);
      if constexpr (draws) {
        const std::int32_t other = batch.negatives[(t + ahead) * batch.n_negatives];
        if (other >= 0) prefetch_row(model.items.own, other, model.ld);
      }
    }
    const SgdEntry& entry = batch.entries[t];
    const std::int32_t* const negatives = draws ? batch.negatives + t * batch.n_negatives : nullptr;
    if (draws && negatives[0] < 0) continue;
    if constexpr (with_features) {
      float* const x = step.scratch;
      float* const gradient = x + model.ld;
      float* const sums = gradient + model.ld;
      add_up(model.users, entry.user, model.f, model.ld, x);
      const auto open = [&](std::int32_t item, std::int64_t k) {
        float* const sum = sums + k * model.ld;
        const float bias = add_up(model.items, item, model.f, model.ld, sum);
        return SgdItem{sum, bias, 0.0F, item};
      };
      const std::int64_t n = pull_items<objective, false>(x, entry, negatives, batch.n_negatives, step.trial_losses,
                                                          model.f, 0.0F, open, items, squares, loss);
      if (n > 0) move_sums<adagrad>(model, entry.user, x, items, n, gradient, step);
    } else {
      const auto open = [&](std::int32_t item, std::int64_t) {
        return SgdItem{model.items.own.vectors + item * model.ld, model.items.own.states[item].bias, 0.0F, item};
      };
      const float* const x = model.users.own.vectors + entry.user * model.ld;
      const float user_bias = draws ? 0.0F : model.users.own.states[entry.user].bias;
      const std::int64_t n = pull_items<objective, adagrad>(x, entry, negatives, batch.n_negatives, step.trial_losses,
                                                            model.f, user_bias, open, items, squares, loss);
      if (n == 0) continue;
      if constexpr (adagrad && fixed_items == 2) {
        move_pair(model, entry.user, items, squares, step);
      } else {
        move_rows<adagrad, fixed_items>(model, entry.user, items, n, step);
      }
    }
  }
  return loss.total();
}

template <SgdObjective objective>
RECSYS_INLINE SgdKernel sgd_kernel_of(bool adagrad, bool with_features) {
  if (with_features) return adagrad ? sgd_steps<objective, true, true> : sgd_steps<objective, false, true>;
  return adagrad ? sgd_steps<objective, true, false> : sgd_steps<objective, false, false>;
}

inline SgdKernel sgd_kernel(SgdObjective objective, bool adagrad, bool with_features) {
  switch (objective) {
    case SgdObjective::bpr:
      return sgd_kernel_of<SgdObjective::bpr>(adagrad, with_features);
    case SgdObjective::warp:
      return sgd_kernel_of<SgdObjective::warp>(adagrad, with_features);
    case SgdObjective::squared:  // which has no features
      return adagrad ? sgd_steps<SgdObjective::squared, true, false> : sgd_steps<SgdObjective::squared, false, false>;
    default:
      return sgd_kernel_of<SgdObjective::logistic>(adagrad, with_features);
  }
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
