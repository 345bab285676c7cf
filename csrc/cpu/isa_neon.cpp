// 64-bit Arm: Advanced SIMD as in the baseline, with its fused multiply-add.
#if defined(__aarch64__)
#define RECSYS_ISA_NS neon
#define RECSYS_SIMD_BYTES 16
#include "cpu/kernels-inl.hpp"
#endif
