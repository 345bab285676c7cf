// x86-64 with AVX-512 F, BW, DQ and VL: Skylake-SP and Zen 4 onwards.
#define RECSYS_ISA_NS avx512
#define RECSYS_SIMD_BYTES 64
#include "cpu/kernels-inl.hpp"
