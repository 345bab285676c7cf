// The factors of one side, on the device or on the host, from where parts of them are copied to work on.
#pragma once

#include <optional>

#include "cuda/row_block.cuh"
#include "cuda/streams.cuh"
#include "cuda/whitening.cuh"

namespace recsys::cuda {

struct FactorRows {
  float* data;  // [n, f]
  std::int64_t n;
  std::int64_t f;
  bool on_device;
  bool pinned = false;  // on the host
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

// All rows, tile by tile, to be read; whitened where a whitening is given, which must live as long, as must the lane.
//
// Tiles that come from the host take turns in two places on the device: the next is copied to one, on the lane's
// stream, while kernels read the other.  After the last comes the first again, for another turn through all.
class FactorTiles {
 public:
  FactorTiles(const FactorRows& from, std::int64_t tile, const DeviceWhitening* whitening, UploadLane& lane,
              Stream stream)
      : from_(from),
        tile_(tile),
        whitening_(whitening),
        lane_(lane),
        stream_(stream),
        whitened_(whitening == nullptr ? 0 : tile * from.f, stream) {
    for (std::int64_t i = 0; i < n_places(from, tile); ++i) {
      places_[i].copy = DeviceBuffer<float>(tile * from.f, stream);
      places_[i].read.record(stream);  // the lane must not come before the memory
    }
  }
  FactorTiles(const FactorTiles&) = delete;
  FactorTiles& operator=(const FactorTiles&) = delete;
  ~FactorTiles() { (void)cudaStreamSynchronize(lane_.stream().handle); }  // a last copy may be under way

  [[nodiscard]] std::int64_t n() const { return divide_up(from_.n, tile_); }
  [[nodiscard]] Range range(std::int64_t t) const { return {t * tile_, std::min(from_.n, (t + 1) * tile_)}; }

  // How many tiles lie on the device beside the factors.
  [[nodiscard]] static std::int64_t n_places(const FactorRows& from, std::int64_t tile) {
    return from.on_device ? 0 : std::min<std::int64_t>(2, divide_up(from.n, tile));
  }

  // Calls use(t, factors [rows of the tile, f]) for each tile in turn.  What that launches on the stream may read them.
  template <typename Use>
  void for_each(const Use& use) {
    for (std::int64_t t = 0; t < n(); ++t) {
      const float* factors = from_.on_device ? from_.data + t * tile_ * from_.f : wait_for(t);
      if (whitening_ != nullptr) {
        if (whitened_tile_ != t) whitening_->whiten(factors, range(t).size(), whitened_.data(), stream_);
        whitened_tile_ = t;
        factors = whitened_.data();
      }
      use(t, factors);
      if (from_.on_device || n() == 1) continue;
      places_[present_].read.record(stream_);
      fill(places_[1 - present_], (t + 1) % n());
    }
  }

 private:
  struct TilePlace {
    DeviceBuffer<float> copy;
    std::optional<std::int64_t> tile;
    Event filled;
    Event read;
  };

  const float* wait_for(std::int64_t t) {
    if (places_[present_].tile != t && n() > 1) present_ = 1 - present_;
    fill(places_[present_], t);
    places_[present_].filled.wait_in(stream_);
    return places_[present_].copy.data();
  }

  void fill(TilePlace& place, std::int64_t t) {
    if (place.tile == t) return;
    place.read.wait_in(lane_.stream());
    const Range rows = range(t);
    lane_.upload(place.copy.data(), from_.data + rows.first * from_.f, rows.size() * from_.f, from_.pinned);
    place.filled.record(lane_.stream());
    place.tile = t;
  }

  FactorRows from_;
  std::int64_t tile_;
  const DeviceWhitening* whitening_;
  UploadLane& lane_;
  Stream stream_;
  TilePlace places_[2];
  int present_ = 0;
  DeviceBuffer<float> whitened_;
  std::optional<std::int64_t> whitened_tile_;
};

}  // namespace recsys::cuda
