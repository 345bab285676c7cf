// The two sides of ALS on a device, and one batch of their rows.
#pragma once

#include "cuda/als_plan.cuh"
#include "cuda/als_settings.cuh"

namespace recsys::cuda::detail {

inline constexpr std::int32_t none_failed = 0x7F7F7F7F;

struct AlsSide {
  const char* name;
  CsrView rows;  // on the host
  FactorRows factors;
  Lambdas lambdas;
  HalfPlan plan;                            // of the half-sweep that solves its rows
  std::int64_t given_tile;                  // of its factors in the other half-sweep
  DeviceBuffer<double> gram;                // of its factors
  std::vector<std::vector<RowBlock>> kept;  // the blocks of each batch, where interactions stay on the device

  AlsSide(const char* side, const CsrView& csr, const FactorRows& out, const AlsOptions& options)
      : name(side), rows(csr), factors(out), lambdas(csr, options), plan{}, given_tile(0) {}
};

// A batch of rows on the device: its entries, one block for each tile of the factors given, and its ridges.
class RowBatch {
 public:
  // `base` is what the lambdas are counted from.
  RowBatch(AlsSide& side, std::size_t batch, const FactorTiles& tiles, float base, bool keeps, Stream stream)
      : rows_(side.plan.batches[batch]) {
    if (keeps && side.kept.size() <= batch) side.kept.resize(batch + 1);
    std::vector<RowBlock>& blocks = keeps ? side.kept[batch] : own_;
    if (blocks.empty()) {
      for (std::int64_t t = 0; t < tiles.n(); ++t) blocks.emplace_back(side.rows, rows_, tiles.range(t), stream);
    }
    blocks_ = &blocks;
    const std::vector<float> ridges = side.lambdas.ridges(rows_, base);
    ridges_ = cuda::upload(ridges.data(), std::ssize(ridges), stream);
    stream.synchronize();  // they are read until then
  }
  RowBatch(const RowBatch&) = delete;
  RowBatch& operator=(const RowBatch&) = delete;

  [[nodiscard]] const Range& rows() const { return rows_; }
  [[nodiscard]] const RowBlock& block(std::int64_t tile) const { return (*blocks_)[static_cast<std::size_t>(tile)]; }
  // Null where all rows have the same.
  [[nodiscard]] const float* ridges() const { return ridges_.data(); }

 private:
  Range rows_;
  std::vector<RowBlock> own_;
  const std::vector<RowBlock>* blocks_ = nullptr;
  DeviceBuffer<float> ridges_;
};

}  // namespace recsys::cuda::detail
