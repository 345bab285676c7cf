// AVX-512 with the 8-bit dot product (VNNI): Cascade Lake, Ice Lake and Zen 4 onwards.
#define RECSYS_ISA_NS avx512vnni
#define RECSYS_SIMD_BYTES 64
#include "cpu/kernels-inl.hpp"
