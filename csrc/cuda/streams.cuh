// Copies from the host that run beside kernels: a stream of one's own, events that tie it to the caller's, and pinned
// memory, without which a device cannot copy on its own.
#pragma once

#include <cstring>

#include "cuda/runtime.cuh"

namespace recsys::cuda {

// A stream that waits for no other by itself, and whose end waits for its work.
class OwnedStream {
 public:
  OwnedStream() { check(cudaStreamCreateWithFlags(&stream_.handle, cudaStreamNonBlocking), "making a stream"); }
  OwnedStream(const OwnedStream&) = delete;
  OwnedStream& operator=(const OwnedStream&) = delete;
  ~OwnedStream() {
    (void)cudaStreamSynchronize(stream_.handle);
    (void)cudaStreamDestroy(stream_.handle);
  }
  [[nodiscard]] Stream get() const { return stream_; }

 private:
  Stream stream_;
};

// A moment in a stream, which another one, or the host, can wait for; one never recorded is past.
class Event {
 public:
  Event() { check(cudaEventCreateWithFlags(&handle_, cudaEventDisableTiming), "making an event"); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { (void)cudaEventDestroy(handle_); }

  void record(Stream stream) { check(cudaEventRecord(handle_, stream.handle), "recording an event"); }
  void wait_in(Stream stream) const { check(cudaStreamWaitEvent(stream.handle, handle_, 0), "waiting for an event"); }
  void synchronize() const { check(cudaEventSynchronize(handle_), "waiting for an event"); }

 private:
  cudaEvent_t handle_ = nullptr;
};

// Memory of the host that somebody else holds, pinned while this lives, if the system lets it be: not where it is
// mapped read-only, or where too much is pinned already.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  PinnedMemory(void* data, std::size_t bytes) {
    if (bytes > 0 && cudaHostRegister(data, bytes, cudaHostRegisterDefault) == cudaSuccess) data_ = data;
    (void)cudaGetLastError();
  }
  PinnedMemory(PinnedMemory&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  PinnedMemory& operator=(PinnedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~PinnedMemory() {
    if (data_ != nullptr) (void)cudaHostUnregister(data_);
  }
  [[nodiscard]] bool is_pinned() const { return data_ != nullptr; }

 private:
  void* data_ = nullptr;
};

// Copies to the device on a stream of its own.  Pinned memory is copied from where it lies.  What lies elsewhere goes
// through two pinned pieces: the host fills one while the device empties the other.
class UploadLane {
 public:
  // Bytes of a piece.
  explicit UploadLane(std::int64_t piece_bytes) : piece_floats_(std::max<std::int64_t>(1, piece_bytes / 4)) {}

  [[nodiscard]] Stream stream() const { return stream_.get(); }

  // Returns when the rest is up to the device, which for memory not pinned is when the last piece has been filled.
  // `from` must stay as it is until the stream has done it.
  void upload(float* to, const float* from, std::int64_t n, bool pinned) {
    if (pinned) return copy(to, from, n);
    for (std::int64_t at = 0; at < n; at += piece_floats_) {
      Piece& piece = pieces_[next_];
      next_ = 1 - next_;
      if (piece.data == nullptr && !piece.allocate(piece_floats_)) return copy(to + at, from + at, n - at);
      const std::int64_t size = std::min(piece_floats_, n - at);
      piece.emptied.synchronize();
      std::memcpy(piece.data, from + at, static_cast<std::size_t>(size) * sizeof(float));
      copy(to + at, piece.data, size);
      piece.emptied.record(stream());
    }
  }

 private:
  struct Piece {
    float* data = nullptr;
    Event emptied;

    Piece() = default;
    Piece(const Piece&) = delete;
    Piece& operator=(const Piece&) = delete;
    ~Piece() {
      if (data != nullptr) (void)cudaFreeHost(data);
    }
    // Returns whether there was memory to be pinned; without it, copies are slower and nothing else changes.
    bool allocate(std::int64_t n) {
      void* memory = nullptr;
      const cudaError_t error = cudaMallocHost(&memory, static_cast<std::size_t>(n) * sizeof(float));
      (void)cudaGetLastError();
      if (error == cudaSuccess) data = static_cast<float*>(memory);
      return error == cudaSuccess;
    }
  };

  void copy(float* to, const float* from, std::int64_t n) {
    check(
        cudaMemcpyAsync(to, from, static_cast<std::size_t>(n) * sizeof(float), cudaMemcpyHostToDevice, stream().handle),
        "copying to the device");
  }

  std::int64_t piece_floats_;
  Piece pieces_[2];
  int next_ = 0;
  OwnedStream stream_;  // ends before the pieces that it reads
};

}  // namespace recsys::cuda
