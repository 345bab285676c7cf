// x86-64 with AVX2 and FMA: Haswell and Zen onwards.
#define RECSYS_ISA_NS avx2
#define RECSYS_SIMD_BYTES 32
#include "cpu/kernels-inl.hpp"
