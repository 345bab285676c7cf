// Stochastic gradient steps of BPR on a batch of triples (Rendle et al. 2009, figure 4), with an item bias.
//
//   m = x_u . (y_i - y_j) + b_i - b_j,  g = 1 / (1 + exp(m))
//   x_u += rate (g (y_i - y_j) - reg x_u)     y_i += rate ( g x_u - reg y_i)     b_i += rate ( g - reg b_i)
//                                             y_j += rate (-g x_u - reg y_j)     b_j += rate (-g - reg b_j)
//
// Concurrency.  Threads may run this on one set of factors without locks (Hogwild, Recht et al. 2011): an update may be
// lost, which costs a little progress and nothing else.  In C++ terms those accesses must not be plain loads and
// stores, which the compiler might repeat or invent.  The bias uses relaxed atomics.  Vectors have no atomics, so they
// go through volatile accesses: each one is done exactly once, and the 32-bit words of which it consists cannot tear
// on any target.  Under ThreadSanitizer, which knows atomics only, every word is a relaxed atomic.
#pragma once

#include "cpu/kernel_table.hpp"
#include "cpu/simd.hpp"

namespace recsys::cpu::RECSYS_ISA_NS {

typedef float shared_vfloat __attribute__((vector_size(RECSYS_SIMD_BYTES), aligned(4), may_alias));

#if defined(__SANITIZE_THREAD__)
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

RECSYS_INLINE void prefetch_row(const float* row, std::int64_t f) {
  for (std::int64_t j = 0; j < f; j += 16) __builtin_prefetch(row + j, 1);
}

// Rows of both factor matrices are padded to ld with zeros, which the steps keep.  Returns the sum over the triples of
// log(1 + exp(-m)), each taken just before its step.
inline double bpr_update(const BprTriple* triples, std::int64_t n, float* user_factors, float* item_factors,
                         float* item_bias, std::int64_t f, std::int64_t ld, float rate, float regularization) {
  constexpr std::int64_t ahead = 6;  // triples are scattered: the hardware cannot foresee their rows
  const vfloat decay = broadcast(1.0F - rate * regularization);
  const float bias_decay = 1.0F - rate * regularization;
  double loss = 0.0;
  double product = 1.0;  // of 1 + exp(-m), so that the logarithm is taken once in many triples
  for (std::int64_t t = 0; t < n; ++t) {
    if (t + ahead < n) {
      const BprTriple& next = triples[t + ahead];
      prefetch_row(user_factors + next.user * ld, f);
      prefetch_row(item_factors + next.positive * ld, f);
      prefetch_row(item_factors + next.negative * ld, f);
    }
    float* const x = user_factors + triples[t].user * ld;
    float* const liked = item_factors + triples[t].positive * ld;
    float* const other = item_factors + triples[t].negative * ld;
    float* const liked_bias = item_bias + triples[t].positive;
    float* const other_bias = item_bias + triples[t].negative;

    vfloat sum = zero();
    for (std::int64_t j = 0; j < f; j += lanes) {
      sum += load_shared(x + j) * (load_shared(liked + j) - load_shared(other + j));
    }
    const float b_liked = load_shared_word(liked_bias);
    const float b_other = load_shared_word(other_bias);
    const float margin = sum_lanes(sum) + b_liked - b_other;

    float pull = 1.0F;
    if (margin < -80.0F) {
      loss -= static_cast<double>(margin);  // log(1 + exp(-m)) is -m to double precision, and exp(-m) overflows
    } else {
      const float odds = __builtin_expf(-margin);
      pull = odds / (1.0F + odds);
      product *= 1.0 + static_cast<double>(odds);
      if (!(product < 1e200)) {
        loss += __builtin_log(product);
        product = 1.0;
      }
    }

    const vfloat step = broadcast(rate * pull);
    for (std::int64_t j = 0; j < f; j += lanes) {
      const vfloat u = load_shared(x + j);
      const vfloat i = load_shared(liked + j);
      const vfloat o = load_shared(other + j);
      store_shared(x + j, decay * u + step * (i - o));
      store_shared(liked + j, decay * i + step * u);
      store_shared(other + j, decay * o - step * u);
    }
    store_shared_word(liked_bias, bias_decay * b_liked + rate * pull);
    store_shared_word(other_bias, bias_decay * b_other - rate * pull);
  }
  return loss + __builtin_log(product);
}

}  // namespace recsys::cpu::RECSYS_ISA_NS
