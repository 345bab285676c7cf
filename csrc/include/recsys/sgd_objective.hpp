// What SGD minimizes (recsys/sgd.hpp).  Read by ISA translation units: plain types only.
#pragma once

#include <cstdint>

namespace recsys {

enum class SgdObjective { bpr, warp, logistic, squared };

// Most items drawn for an entry where a step needs all of them at once (logistic).
inline constexpr std::int64_t sgd_most_negatives = 64;

}  // namespace recsys
