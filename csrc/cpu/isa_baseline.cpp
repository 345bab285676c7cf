// What every processor of the architecture has: SSE2 on x86-64, Advanced SIMD on 64-bit Arm.  Compiled without
// contraction, so that multiply and add round separately on either.
#define RECSYS_ISA_NS baseline
#define RECSYS_SIMD_BYTES 16
#include "cpu/kernels-inl.hpp"
