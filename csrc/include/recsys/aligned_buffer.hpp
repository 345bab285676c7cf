// Owner of an uninitialized array that starts on a cache line.  Move-only; elements are trivial types.  It may also
// stand for an array of somebody else's, which is only read then.
//
// A large one starts on a huge page and asks the system for more of them: scattered reads would spend most of their
// time on translating addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
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
    data_ = {static_cast<T*>(detail::allocate_aligned(bytes)), Free{bytes, true}};
  }
  // Looks at memory that somebody else keeps for as long.  Nobody may write to it.
  [[nodiscard]] static AlignedBuffer borrowed(std::span<const T> values) {
    AlignedBuffer buffer;
    buffer.data_ = {const_cast<T*>(values.data()), Free{}};
    buffer.size_ = static_cast<std::int64_t>(values.size());
    return buffer;
  }

  [[nodiscard]] T* data() const { return data_.get(); }
  [[nodiscard]] std::int64_t size() const { return size_; }

 private:
  struct Free {
    std::size_t bytes = 0;
    bool owned = false;
    void operator()(T* data) const {
      if (owned) detail::free_aligned(data, bytes);
    }
  };

  std::unique_ptr<T, Free> data_;
  std::int64_t size_ = 0;
};

}  // namespace recsys
