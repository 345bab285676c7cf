// The factors of one side, on the device or on the host, from where parts of them are copied to work on.
#pragma once

#include <optional>

#include "cuda/row_block.cuh"
#include "cuda/whitening.cuh"

namespace recsys::cuda {

struct FactorRows {
  float* data;  // [n, f]
  std::int64_t n;
  std::int64_t f;
  bool on_device;
};

// A range of rows on the device, to be changed.
class LoadedRows {
 public:
  // With what they hold, or else zeros.
  LoadedRows(const FactorRows& from, const Range& rows, bool with_content, Stream stream)
      : size_(rows.size() * from.f), data_(from.data + rows.first * from.f), host_(data_) {
    if (from.on_device) return;
    copy_ = DeviceBuffer<float>(size_, stream);
    data_ = copy_.data();
    if (with_content) {
      copy_.upload(host_, stream);
    } else {
      copy_.set_bytes(0, stream);
    }
  }
  [[nodiscard]] float* data() const { return data_; }
  // Copies back what has been changed, and waits for it.
  void store(Stream stream) const {
    if (copy_.data() == nullptr) return;
    copy_.download(host_, stream);
    stream.synchronize();
  }

 private:
  std::int64_t size_;
  float* data_;
  float* host_;
  DeviceBuffer<float> copy_;
};

// All rows, tile by tile, to be read; whitened where a whitening is given, which must live as long.
class FactorTiles {
 public:
  FactorTiles(const FactorRows& from, std::int64_t tile, const DeviceWhitening* whitening, Stream stream)
      : from_(from),
        tile_(tile),
        whitening_(whitening),
        stream_(stream),
        copy_(from.on_device ? 0 : tile * from.f, stream),
        whitened_(whitening == nullptr ? 0 : tile * from.f, stream) {}

  [[nodiscard]] std::int64_t n() const { return divide_up(from_.n, tile_); }
  [[nodiscard]] Range range(std::int64_t t) const { return {t * tile_, std::min(from_.n, (t + 1) * tile_)}; }

  // [rows of the tile, f], until another is asked for.
  [[nodiscard]] const float* load(std::int64_t t) {
    if (loaded_ == t) return tile_data_;
    const Range rows = range(t);
    tile_data_ = from_.data + rows.first * from_.f;
    if (!from_.on_device) {
      check(cudaMemcpyAsync(copy_.data(), tile_data_, static_cast<std::size_t>(rows.size() * from_.f) * sizeof(float),
                            cudaMemcpyHostToDevice, stream_.handle),
            "copying to the device");
      tile_data_ = copy_.data();
    }
    if (whitening_ != nullptr) {
      whitening_->whiten(tile_data_, rows.size(), whitened_.data(), stream_);
      tile_data_ = whitened_.data();
    }
    loaded_ = t;
    return tile_data_;
  }

 private:
  FactorRows from_;
  std::int64_t tile_;
  const DeviceWhitening* whitening_;
  Stream stream_;
  DeviceBuffer<float> copy_;
  DeviceBuffer<float> whitened_;
  std::optional<std::int64_t> loaded_;
  const float* tile_data_ = nullptr;
};

}  // namespace recsys::cuda
