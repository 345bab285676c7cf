#include "recsys/dispatch.hpp"

#include <string>

#include "recsys/errors.hpp"
#include "tests/check.hpp"

TEST(every_available_level_can_be_set) {
  const recsys::Isa before = recsys::active_isa();
  const auto available = recsys::available_isas();
  CHECK(!available.empty() && available.front() == recsys::Isa::baseline);
  for (const recsys::Isa isa : available) {
    recsys::set_isa(recsys::isa_name(isa));
    CHECK(recsys::active_isa() == isa);
  }
  recsys::set_isa(recsys::isa_name(before));
}

TEST(an_unknown_level_is_refused_and_changes_nothing) {
  const recsys::Isa before = recsys::active_isa();
  CHECK_THROWS(recsys::set_isa("mmx"), recsys::DeviceError, "(baseline");
  CHECK(recsys::active_isa() == before);
}
