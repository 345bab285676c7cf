// Selection of the k best candidates out of a stream, and the order rule.
//
// Where candidates arrive in ascending item order, one that does not score strictly above the k-th best so far is
// beaten, by score or by index, by k others, and `threshold()` lets a kernel drop it without looking further.  Those
// that pass are buffered; when the buffer of about 2 k is full, nth_element cuts it to k and raises the threshold.
// Cost: O(1) a candidate that passes, of which a stream in random order has about k ln(n / k).
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace recsys::cpu {

struct Candidate {
  float score;
  std::int32_t item;
};

// Score descending, then item ascending.
inline bool ranks_before(const Candidate& a, const Candidate& b) {
  return a.score > b.score || (a.score == b.score && a.item < b.item);
}

// The same as a type, which the algorithms of the standard library inline where they would call a function.
struct RanksBefore {
  bool operator()(const Candidate& a, const Candidate& b) const { return ranks_before(a, b); }
};

// Sorts the best n of the candidates to the front: selecting first beats the heap of std::partial_sort.
template <typename Iterator>
void sort_best(Iterator begin, Iterator end, std::int64_t n) {
  if (n < end - begin) std::nth_element(begin, begin + n, end, RanksBefore{});
  std::sort(begin, begin + n, RanksBefore{});
}

class TopSelector {
 public:
  // Keeps out -inf and NaN.
  static constexpr float initial_threshold = -std::numeric_limits<float>::infinity();

  // Buffer entries needed for k out of at most n candidates.
  static std::int64_t capacity(std::int64_t k, std::int64_t n) { return std::min(n, k + std::max(k, slack)); }

  TopSelector(std::span<Candidate> buffer, std::int64_t k) : buffer_(buffer), k_(k) {}

  // Only scores above it need be pushed.
  [[nodiscard]] float threshold() const { return threshold_; }

  void push(Candidate candidate) {
    if (size_ == static_cast<std::int64_t>(buffer_.size())) {
      cut();
      if (!(candidate.score > threshold_)) return;
    }
    buffer_[static_cast<std::size_t>(size_++)] = candidate;
  }

  // The best k or fewer, in order.
  std::span<const Candidate> finish() {
    const std::int64_t n = std::min(size_, k_);
    sort_best(buffer_.begin(), buffer_.begin() + size_, n);
    return buffer_.first(static_cast<std::size_t>(n));
  }

 private:
  static constexpr std::int64_t slack = 32;

  // Only reached where the capacity exceeds k: with n <= k there is room for every candidate.
  void cut() {
    std::nth_element(buffer_.begin(), buffer_.begin() + (k_ - 1), buffer_.begin() + size_, RanksBefore{});
    size_ = k_;
    threshold_ = buffer_[static_cast<std::size_t>(k_ - 1)].score;
  }

  std::span<Candidate> buffer_;
  std::int64_t k_;
  std::int64_t size_ = 0;
  float threshold_ = initial_threshold;
};

// Writes one row of a ranking: `best` in order, then padding.
inline void write_ranking(std::span<const Candidate> best, std::int64_t* indices, float* scores, std::int64_t k) {
  std::int64_t rank = 0;
  for (const Candidate& candidate : best) {
    indices[rank] = candidate.item;
    scores[rank++] = candidate.score;
  }
  std::fill(indices + rank, indices + k, std::int64_t{-1});
  std::fill(scores + rank, scores + k, -std::numeric_limits<float>::infinity());
}

}  // namespace recsys::cpu
