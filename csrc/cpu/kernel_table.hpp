// The kernels of one ISA level, as a table of function pointers: one field a kernel, filled in by make_table() at the
// end of kernels-inl.hpp.
//
// An operation takes `kernels()` once, at its start, and uses that table throughout, so that one call never mixes
// levels.  This header is read by ISA translation units: it may declare plain types and no function bodies.
#pragma once

#include <cstdint>

namespace recsys::cpu {

struct KernelTable {};

// The table of the level in use (recsys/dispatch.hpp).
const KernelTable& kernels();

namespace baseline {
const KernelTable& table();
}
namespace avx2 {
const KernelTable& table();
}
namespace avx512 {
const KernelTable& table();
}
namespace neon {
const KernelTable& table();
}

}  // namespace recsys::cpu
