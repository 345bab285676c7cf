// Owner of an uninitialized array that starts on a cache line.  Move-only; elements are trivial types.
//
// A large one starts on a huge page and asks the system for more of them: scattered reads would spend most of their
// time on translating addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

#include "recsys/views.hpp"

namespace recsys {
namespace detail {

void* allocate_aligned(std::size_t bytes);
void free_aligned(void* data, std::size_t bytes);

}  // namespace detail

template <typename T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::int64_t size) : size_(size) {
    const auto bytes = static_cast<std::size_t>(checked_product(size, static_cast<std::int64_t>(sizeof(T))));
    data_ = {static_cast<T*>(detail::allocate_aligned(bytes)), Free{bytes}};
  }

  [[nodiscard]] T* data() const { return data_.get(); }
  [[nodiscard]] std::int64_t size() const { return size_; }

 private:
  struct Free {
    std::size_t bytes = 0;
    void operator()(T* data) const { detail::free_aligned(data, bytes); }
  };

  std::unique_ptr<T, Free> data_;
  std::int64_t size_ = 0;
};

}  // namespace recsys
