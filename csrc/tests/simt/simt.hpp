// Runs CUDA kernels on the processor, so that their logic is tested where no device is.
//
// A block's threads are fibers of one operating-system thread, switched only where CUDA threads wait for each other: at
// barriers and at warp collectives.  Blocks run one after another.  A run is therefore deterministic; `Schedule`
// chooses in which order ready threads and blocks take their turn, and a kernel whose result depends on it has a race.
//
// Checked, each ending the launch with a SimtError that names thread, file and line: barriers and collectives that the
// threads reach at different places (divergence), that a thread of theirs never reaches, or that name lanes which have
// exited; a collective's mask without the caller; launches that a device would refuse.  Shared and device memory are
// allocations of the exact size filled with garbage, so that AddressSanitizer sees what lies outside, and what was
// never written shows in the result.
//
// Not modelled: the order in which writes become visible between barriers, and threads that wait for each other through
// memory (a spin lock would never end).
#pragma once

#include <ucontext.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}  // NOLINT: as in CUDA
};

// Of the thread that is running.
inline uint3 threadIdx;
inline uint3 blockIdx;
inline dim3 blockDim;
inline dim3 gridDim;

namespace recsys::simt {

struct SimtError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The order in which ready threads, and blocks, take their turn.
enum class Schedule { ascending, descending, scattered };

inline constexpr unsigned warp_size = 32;
inline constexpr std::size_t payload_bytes = 32;

struct Payload {
  alignas(16) std::array<std::byte, payload_bytes> bytes{};
};

class Block {
 public:
  // Runs `body` once in each thread.  `index` is the block's place in the grid.
  static void run(uint3 index, dim3 grid, dim3 threads, std::size_t shared_bytes, Schedule schedule,
                  const std::function<void()>& body);

  static Block& current() {
    if (current_ == nullptr) throw SimtError("device code was called outside a kernel");
    return *current_;
  }

  [[nodiscard]] std::byte* shared() { return shared_.get(); }

  // Waits until every thread of the block is here; returns how many said true.
  unsigned barrier(bool predicate, std::source_location site);

  // Waits until every lane of `mask` is here; returns what each lane brought, by lane.
  const std::array<Payload, warp_size>& exchange(unsigned mask, const Payload& payload, std::source_location site);

  [[nodiscard]] unsigned lane() const { return running_ % warp_size; }

 private:
  enum class State { ready, at_barrier, at_collective, done };

  // Where a fiber goes on.  A context starts it; from then on the compiler's own jump buffers switch, which need no
  // system call.
  using Place = void* [5];

  struct Thread {
    ucontext_t context{};
    Place place{};
    bool started = false;
    void* fake_stack = nullptr;
    State state = State::ready;
    std::source_location site;
    unsigned mask = 0;
    bool predicate = false;
    unsigned count = 0;
    Payload brought;
    std::array<Payload, warp_size> received;
  };

  Block(unsigned n_threads, std::size_t shared_bytes);
  void start(unsigned thread);
  void loop(Schedule schedule);
  void resume(unsigned thread);
  [[gnu::noinline]] void leave_for(unsigned thread);
  void wait();
  static void enter();
  void set_index(unsigned thread);
  [[noreturn]] void fail(const std::string& what, unsigned thread) const;
  [[nodiscard]] std::string describe(unsigned thread) const;

  inline static Block* current_ = nullptr;
  std::vector<Thread> threads_;
  std::unique_ptr<std::byte[]> shared_;
  const std::function<void()>* body_ = nullptr;
  Place main_{};
  void* main_fake_stack_ = nullptr;
  const void* main_stack_ = nullptr;
  std::size_t main_stack_size_ = 0;
  unsigned running_ = 0;
  unsigned n_at_barrier_ = 0;
  unsigned n_done_ = 0;
  std::exception_ptr error_;
};

// Set by tests; every launch follows it.
inline Schedule& schedule() {
  static Schedule value = Schedule::ascending;
  return value;
}

// Puts the i-th of n in the order of the schedule: a permutation of [0, n).
inline unsigned scheduled(unsigned i, unsigned n, Schedule schedule) {
  switch (schedule) {
    case Schedule::ascending:
      return i;
    case Schedule::descending:
      return n - 1 - i;
    case Schedule::scattered: {
      // A stride that shares no factor with n, far from 1.
      unsigned stride = n / 2 + n / 8 + 1;
      const auto common = [](unsigned a, unsigned b) {
        while (b != 0) {
          const unsigned rest = a % b;
          a = b;
          b = rest;
        }
        return a;
      };
      while (common(stride, n) != 1) ++stride;
      return static_cast<unsigned>((static_cast<std::uint64_t>(i) * stride + n / 3) % n);
    }
  }
  return i;
}

void check_launch(dim3 grid, dim3 threads, std::size_t shared_bytes, std::size_t shared_limit);

template <typename T>
Payload pack(const T& value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= payload_bytes);
  Payload payload;
  std::memcpy(payload.bytes.data(), &value, sizeof(T));
  return payload;
}

template <typename T>
T unpack(const Payload& payload) {
  T value;
  std::memcpy(&value, payload.bytes.data(), sizeof(T));
  return value;
}

// What each lane of the mask brought to the same place.
template <typename T>
std::array<T, warp_size> exchange(unsigned mask, const T& value,
                                  std::source_location site = std::source_location::current()) {
  const auto& received = Block::current().exchange(mask, pack(value), site);
  std::array<T, warp_size> values{};
  for (unsigned lane = 0; lane < warp_size; ++lane) values[lane] = unpack<T>(received[lane]);
  return values;
}

}  // namespace recsys::simt
