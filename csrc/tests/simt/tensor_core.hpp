// The functions of cuda/tensor_core.cuh on the processor: the same numbers in the same lanes.
//
// Asynchronous copies arrive as late as CUDA allows, when they are waited for, so that a kernel that reads too early
// reads what was there before.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <vector>

#include "tests/simt/simt.hpp"

namespace recsys::cuda {

namespace emulated {

inline unsigned four_bytes(const std::int8_t* from) {
  unsigned value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

inline void load_fragments(unsigned (&registers)[4], const std::int8_t* matrix, int stride, int row, int column,
                           bool rows_first) {
  const auto lane = static_cast<int>(simt::Block::current().lane());
  for (int i = 0; i < 4; ++i) {
    const int lower = rows_first ? i % 2 : i / 2;
    const int right = rows_first ? i / 2 : i % 2;
    registers[i] = four_bytes(matrix + (row + lane / 4 + lower * 8) * stride + column + right * 16 + lane % 4 * 4);
  }
}

struct Copy {
  void* to;
  const void* from;
};
struct Copies {
  std::vector<Copy> open;
  std::deque<std::vector<Copy>> groups;
};
// By thread of the block that runs; a kernel ends with none under way.
inline Copies& copies() {
  static std::map<unsigned, Copies> all;
  return all[threadIdx.x];
}

}  // namespace emulated

inline void load_left(unsigned (&a)[4], const std::int8_t* matrix, int stride, int row, int column) {
  emulated::load_fragments(a, matrix, stride, row, column, true);
}

inline void load_right(unsigned (&b)[4], const std::int8_t* matrix, int stride, int row, int column) {
  emulated::load_fragments(b, matrix, stride, row, column, false);
}

inline void multiply_add(int (&acc)[4], const unsigned (&a)[4], unsigned b0, unsigned b1,
                         std::source_location site = std::source_location::current()) {
  struct Operands {
    std::int8_t a[4][4];
    std::int8_t b[2][4];
  } mine;
  std::memcpy(mine.a, a, sizeof(mine.a));
  std::memcpy(mine.b[0], &b0, sizeof(b0));
  std::memcpy(mine.b[1], &b1, sizeof(b1));
  const auto all = simt::exchange(0xFFFFFFFFU, mine, site);
  const unsigned lane = simt::Block::current().lane();
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane / 4;  // of the half that i / 2 chooses
    const unsigned column = lane % 4 * 2 + i % 2;
    for (unsigned k = 0; k < 32; ++k) {
      const std::int8_t left = all[row * 4 + k % 16 / 4].a[i / 2 + k / 16 * 2][k % 4];
      const std::int8_t right = all[column * 4 + k % 16 / 4].b[k / 16][k % 4];
      acc[i] += left * right;
    }
  }
}

inline unsigned round_to_tf32(float value) { return (std::bit_cast<unsigned>(value) + 0x1000U) & ~0x1FFFU; }

inline void multiply_add_tf32(float (&acc)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                              std::source_location site = std::source_location::current()) {
  struct Operands {
    unsigned a[4];
    unsigned b[2];
  } mine;
  std::memcpy(mine.a, a, sizeof(mine.a));
  std::memcpy(mine.b, b, sizeof(mine.b));
  const auto all = simt::exchange(0xFFFFFFFFU, mine, site);
  const unsigned lane = simt::Block::current().lane();
  for (unsigned i = 0; i < 4; ++i) {
    for (unsigned k = 0; k < 8; ++k) {
      const unsigned left = all[lane / 4 * 4 + k % 4].a[i / 2 + k / 4 * 2];
      const unsigned right = all[(lane % 4 * 2 + i % 2) * 4 + k % 4].b[k / 4];
      acc[i] += std::bit_cast<float>(left) * std::bit_cast<float>(right);
    }
  }
}

inline void copy_async(void* to_shared, const void* from) { emulated::copies().open.push_back({to_shared, from}); }

inline void commit_copies() {
  emulated::Copies& copies = emulated::copies();
  copies.groups.push_back(std::move(copies.open));
  copies.open.clear();
}

template <int n_open>
void wait_copies() {
  emulated::Copies& copies = emulated::copies();
  while (copies.groups.size() > n_open) {
    for (const emulated::Copy& copy : copies.groups.front()) std::memcpy(copy.to, copy.from, 16);
    copies.groups.pop_front();
  }
}

}  // namespace recsys::cuda
