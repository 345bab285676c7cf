// 64-bit Arm: Advanced SIMD, whose multiply-add is fused.
#define RECSYS_ISA_NS neon
#define RECSYS_SIMD_BYTES 16
#include "cpu/kernels-inl.hpp"
