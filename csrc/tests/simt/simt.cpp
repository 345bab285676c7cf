#include "tests/simt/simt.hpp"

#include <bit>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace recsys::simt {
namespace {

constexpr std::size_t stack_bytes = 256 << 10;

// Stacks are kept from block to block.
std::byte* stack_of(unsigned thread) {
  static std::vector<std::unique_ptr<std::byte[]>> stacks;
  while (stacks.size() <= thread) stacks.push_back(std::make_unique_for_overwrite<std::byte[]>(stack_bytes));
  return stacks[thread].get();
}

void start_switch([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* stack,
                  [[maybe_unused]] std::size_t size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake_stack, stack, size);
#endif
}

void finish_switch([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** stack,
                   [[maybe_unused]] std::size_t* size) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, stack, size);
#endif
}

// Not inlined: the function that fills a buffer must not be the one that jumps to it.
[[noreturn, gnu::noinline]] void jump(void** place) { __builtin_longjmp(place, 1); }

bool same_site(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

}  // namespace

Block::Block(unsigned n_threads, std::size_t shared_bytes)
    : threads_(n_threads), shared_(std::make_unique_for_overwrite<std::byte[]>(shared_bytes)) {
  std::memset(shared_.get(), 0xCD, shared_bytes);
}

void Block::run(uint3 index, dim3 grid, dim3 threads, std::size_t shared_bytes, Schedule schedule,
                const std::function<void()>& body) {
  Block block(threads.x * threads.y * threads.z, shared_bytes);
  block.body_ = &body;
  blockIdx = index;
  gridDim = grid;
  blockDim = threads;
  current_ = &block;
  for (unsigned t = 0; t < block.threads_.size(); ++t) block.start(t);
  try {
    block.loop(schedule);
  } catch (...) {
    current_ = nullptr;
    throw;
  }
  current_ = nullptr;
}

void Block::start(unsigned thread) {
  ucontext_t& context = threads_[thread].context;
  std::byte* stack = stack_of(thread);
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(stack, stack_bytes);  // a launch that failed may have left frames on it
#endif
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = stack_bytes;
  context.uc_link = nullptr;
  makecontext(&context, &Block::enter, 0);
}

void Block::enter() {
  Block& block = *current_;
  finish_switch(nullptr, &block.main_stack_, &block.main_stack_size_);
  try {
    (*block.body_)();
  } catch (...) {
    block.error_ = std::current_exception();
  }
  block.threads_[block.running_].state = State::done;
  ++block.n_done_;
  start_switch(nullptr, block.main_stack_, block.main_stack_size_);  // null: this stack is given up
  jump(block.main_);
}

void Block::loop(Schedule schedule) {
  const auto n = static_cast<unsigned>(threads_.size());
  bool progress = true;
  while (n_done_ < n && progress) {
    progress = false;
    for (unsigned i = 0; i < n; ++i) {
      const unsigned thread = scheduled(i, n, schedule);
      if (threads_[thread].state != State::ready) continue;
      progress = true;
      resume(thread);
      if (error_) std::rethrow_exception(error_);
    }
  }
  if (n_done_ == n) return;
  unsigned exited = n;
  for (unsigned t = 0; t < n; ++t) {
    if (threads_[t].state == State::done) exited = t;
  }
  for (unsigned t = 0; t < n; ++t) {
    if (threads_[t].state == State::at_barrier && exited < n) {
      fail("waits at a barrier that thread " + std::to_string(exited) + " never reached: it has exited", t);
    }
    if (threads_[t].state == State::at_collective) fail("waits at a warp collective that a lane never reached", t);
  }
  fail("waits for ever", 0);
}

void Block::resume(unsigned thread) {
  running_ = thread;
  set_index(thread);
  start_switch(&main_fake_stack_, stack_of(thread), stack_bytes);
  if (__builtin_setjmp(main_) == 0) leave_for(thread);
  finish_switch(main_fake_stack_, nullptr, nullptr);
}

void Block::leave_for(unsigned thread) {
  if (threads_[thread].started) jump(threads_[thread].place);
  threads_[thread].started = true;
  setcontext(&threads_[thread].context);
}

void Block::wait() {
  const unsigned self = running_;
  start_switch(&threads_[self].fake_stack, main_stack_, main_stack_size_);
  if (__builtin_setjmp(threads_[self].place) == 0) jump(main_);
  finish_switch(threads_[self].fake_stack, &main_stack_, &main_stack_size_);
}

void Block::set_index(unsigned thread) {
  threadIdx = {thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y};
}

unsigned Block::barrier(bool predicate, std::source_location site) {
  const unsigned self = running_;
  Thread& thread = threads_[self];
  thread.site = site;
  thread.predicate = predicate;
  for (unsigned t = 0; t < threads_.size(); ++t) {
    if (threads_[t].state != State::at_barrier) continue;
    if (!same_site(threads_[t].site, site)) fail("is at another barrier than thread " + describe(t), self);
    break;  // those that wait are at one place
  }
  if (++n_at_barrier_ < threads_.size()) {
    thread.state = State::at_barrier;
    wait();
    return thread.count;
  }
  unsigned count = 0;
  for (const Thread& other : threads_) count += other.predicate ? 1 : 0;
  n_at_barrier_ = 0;
  for (Thread& other : threads_) {
    other.count = count;
    other.state = State::ready;
  }
  return count;
}

const std::array<Payload, warp_size>& Block::exchange(unsigned mask, const Payload& payload,
                                                      std::source_location site) {
  const unsigned self = running_;
  const unsigned first = self / warp_size * warp_size;
  Thread& thread = threads_[self];
  thread.site = site;
  thread.mask = mask;
  thread.brought = payload;
  if ((mask >> lane() & 1U) == 0) fail("calls a warp collective whose mask leaves it out", self);
  bool complete = true;
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const unsigned other = first + static_cast<unsigned>(std::countr_zero(rest));
    if (other >= threads_.size()) fail("names lanes that the block does not have", self);
    if (threads_[other].state == State::done) fail("names a lane that has exited", self);
    if (other == self) continue;
    if (threads_[other].state != State::at_collective) {
      complete = false;
    } else if (threads_[other].mask != mask || !same_site(threads_[other].site, site)) {
      fail("is at another warp collective than thread " + describe(other), self);
    }
  }
  if (!complete) {
    thread.state = State::at_collective;
    wait();
    return thread.received;
  }
  std::array<Payload, warp_size> all;
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    const auto at = static_cast<unsigned>(std::countr_zero(rest));
    all[at] = threads_[first + at].brought;
  }
  for (unsigned rest = mask; rest != 0; rest &= rest - 1) {
    Thread& other = threads_[first + static_cast<unsigned>(std::countr_zero(rest))];
    other.received = all;
    other.state = State::ready;
  }
  return thread.received;
}

std::string Block::describe(unsigned thread) const {
  const std::source_location& site = threads_[thread].site;
  return std::to_string(thread) + " (" + site.file_name() + ":" + std::to_string(site.line()) + ")";
}

void Block::fail(const std::string& what, unsigned thread) const {
  throw SimtError("block (" + std::to_string(blockIdx.x) + ", " + std::to_string(blockIdx.y) + ", " +
                  std::to_string(blockIdx.z) + "), thread " + describe(thread) + " " + what);
}

void check_launch(dim3 grid, dim3 threads, std::size_t shared_bytes, std::size_t shared_limit) {
  constexpr std::uint64_t most_threads = 1024;
  constexpr unsigned most_blocks = 0x7FFFFFFF;  // in x
  constexpr unsigned most_rows = 65535;         // of blocks, in y and z
  const std::uint64_t n = static_cast<std::uint64_t>(threads.x) * threads.y * threads.z;
  if (n == 0 || n > most_threads) throw SimtError("a block has 1 to 1024 threads, got " + std::to_string(n));
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) throw SimtError("a grid must not be empty");
  if (grid.x > most_blocks || grid.y > most_rows || grid.z > most_rows) throw SimtError("the grid is too large");
  if (shared_bytes > shared_limit) {
    throw SimtError("a block may have " + std::to_string(shared_limit) + " bytes of shared memory, got " +
                    std::to_string(shared_bytes));
  }
}

}  // namespace recsys::simt
