#include "recsys/aligned_buffer.hpp"

#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace recsys::detail {
namespace {

constexpr std::size_t cache_line = 64;
constexpr std::size_t huge_page = std::size_t{2} << 20;

std::align_val_t alignment(std::size_t bytes) {
  return std::align_val_t{bytes < 2 * huge_page ? cache_line : huge_page};
}

}  // namespace

void* allocate_aligned(std::size_t bytes) {
  void* data = ::operator new(bytes, alignment(bytes));
#if defined(__linux__)
  // A wish: where it is refused, small pages serve.
  if (bytes >= 2 * huge_page) (void)madvise(data, bytes, MADV_HUGEPAGE);
#endif
  return data;
}

void free_aligned(void* data, std::size_t bytes) { ::operator delete(data, alignment(bytes)); }

}  // namespace recsys::detail
