#include "recsys/dispatch.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include "cpu/kernel_table.hpp"
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

TEST(every_level_but_the_baseline_fuses_multiply_and_add) {
  // The square of 1 + 2^-12 ends in 2^-24, which is lost where the product is rounded before it is added.
  const recsys::Isa before = recsys::active_isa();
  const float factor = 1.0F + 0x1p-12F;
  const std::vector<float> row(16, factor);
  for (const recsys::Isa isa : recsys::available_isas()) {
    recsys::set_isa(recsys::isa_name(isa));
    std::vector<float> sum(row.size(), -(1.0F + 0x1p-11F));
    recsys::cpu::kernels().add_scaled(sum.data(), factor, row.data(), static_cast<std::int64_t>(row.size()));
    for (const float value : sum) CHECK(value == (isa == recsys::Isa::baseline ? 0.0F : 0x1p-24F));
  }
  recsys::set_isa(recsys::isa_name(before));
}

TEST(an_unknown_level_is_refused_and_changes_nothing) {
  const recsys::Isa before = recsys::active_isa();
  CHECK_THROWS(recsys::set_isa("mmx"), recsys::DeviceError, "(baseline");
  CHECK(recsys::active_isa() == before);
}
