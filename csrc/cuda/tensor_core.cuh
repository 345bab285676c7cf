// Tensor cores on 8-bit whole numbers and on tf32, and copies to shared memory that do not wait.
//
//   acc[16, 8] += a[16, 32] b[8, 32]^T       int8 operands, int32 sums: exact, in any order
//   acc[16, 8] += a[16, 8] b[8, 8]           tf32 operands, float32 sums
//
// by one warp.  With g = lane / 4 and t = lane % 4, a lane holds
//
//   a: rows g (registers 0, 2) and g + 8 (1, 3), columns 4 t + {0..3} (0, 1) and 16 + 4 t + {0..3} (2, 3)
//   b: row g, columns 4 t + {0..3} (register 0) and 16 + 4 t + {0..3} (1)
//   acc: rows g (0, 1) and g + 8 (2, 3), columns 2 t + {0, 1}
//
// (PTX ISA, "Matrix Fragments for mma.m16n8k32").  Turing multiplies 8 x 8 x 16 at a time, with the same layout in
// quarters.  Of tf32 (m16n8k8) it holds
//
//   a: rows g (registers 0, 2) and g + 8 (1, 3), columns t (0, 1) and t + 4 (2, 3)
//   b: rows t (0) and t + 4 (1), column g
//   acc: as above
//
// which Turing lacks: its lanes hand each other the operands and multiply for themselves.  Whole numbers instead of
// bf16 because their sums are exact, so that a bound on the scores needs no assumption about how tensor cores round,
// and because they take half the bytes at up to twice the rate; tf32 where a residual makes up for the rounding.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#if !defined(__CUDACC__)
#include "tests/simt/tensor_core.hpp"
#else

namespace recsys::cuda {

__device__ inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

__device__ inline void load_matrices(unsigned (&registers)[4], const std::int8_t* from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
               : "r"(shared_address(from))
               : "memory");
}

// Rows [row, row + 16) and columns [column, column + 32) of a matrix in shared memory; rows are `stride` bytes apart,
// an odd multiple of 16, so that 8 of them lie in different banks.
__device__ inline void load_left(unsigned (&a)[4], const std::int8_t* matrix, int stride, int row, int column) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  load_matrices(a, matrix + (row + lane % 16) * stride + column + lane / 16 * 16);
}

// The b of two neighbouring products: registers 0 and 1 are rows [row, row + 8), 2 and 3 rows [row + 8, row + 16).
__device__ inline void load_right(unsigned (&b)[4], const std::int8_t* matrix, int stride, int row, int column) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  load_matrices(b, matrix + (row + lane % 8 + lane / 16 * 8) * stride + column + lane / 8 % 2 * 16);
}

__device__ inline void multiply_add(int (&acc)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(acc[0]), "+r"(acc[1]), "+r"(acc[2]), "+r"(acc[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  const auto quarter = [](int& c0, int& c1, unsigned left, unsigned right) {
    asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};"
                 : "+r"(c0), "+r"(c1)
                 : "r"(left), "r"(right));
  };
  quarter(acc[0], acc[1], a[0], b0);
  quarter(acc[0], acc[1], a[2], b1);
  quarter(acc[2], acc[3], a[1], b0);
  quarter(acc[2], acc[3], a[3], b1);
#endif
}

// The nearest number of 11 bits, as tensor cores take it.
__device__ inline unsigned round_to_tf32(float value) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  unsigned rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
  return rounded;
#else
  return (__float_as_uint(value) + 0x1000U) & ~0x1FFFU;
#endif
}

__device__ inline void multiply_add_tf32(float (&acc)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const auto from = [](unsigned value, int source) { return __uint_as_float(__shfl_sync(~0U, value, source)); };
    const int row = lane / 4 * 4 + k % 4;
    const float upper = from(a[k / 4 * 2], row);
    const float lower = from(a[k / 4 * 2 + 1], row);
    const float left = from(b[k / 4], lane % 4 * 8 + k % 4);
    const float right = from(b[k / 4], lane % 4 * 8 + 4 + k % 4);
    acc[0] = __fmaf_rn(upper, left, acc[0]);
    acc[1] = __fmaf_rn(upper, right, acc[1]);
    acc[2] = __fmaf_rn(lower, left, acc[2]);
    acc[3] = __fmaf_rn(lower, right, acc[3]);
  }
#endif
}

// 16 bytes, both ends aligned to 16.  They are there after wait_copies, and for other threads after a barrier then.
__device__ inline void copy_async(void* to_shared, const void* from) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to_shared)), "l"(from) : "memory");
#else
  *static_cast<int4*>(to_shared) = *static_cast<const int4*>(from);
#endif
}

// Closes a group of copies.
__device__ inline void commit_copies() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most n_open of the groups that this thread has closed are still under way.
template <int n_open>
__device__ inline void wait_copies() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(n_open) : "memory");
#endif
}

}  // namespace recsys::cuda

#endif
