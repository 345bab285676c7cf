// 64-bit Arm with the dot product of bytes: Armv8.4, and most processors of Armv8.2, since about 2018.
#if defined(__aarch64__)
#define RECSYS_ISA_NS neondot
#define RECSYS_SIMD_BYTES 16
#include "cpu/kernels-inl.hpp"
#endif
