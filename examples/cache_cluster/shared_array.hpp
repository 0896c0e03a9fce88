// An array that lives on in every process forked after it was made: what one writes, all see.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <system_error>
#include <type_traits>

namespace cache_cluster {

/// Of lock-free atomics, or of structures made of them. The memory goes with the last process.
template <class T>
class SharedArray {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  explicit SharedArray(std::size_t size) : size_{size} {
    void* const memory = ::mmap(nullptr, size * sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::system_error{errno, std::generic_category(), "no memory for the cluster"};
    items_ = static_cast<T*>(memory);
    std::uninitialized_value_construct_n(items_, size);
  }

  SharedArray(const SharedArray&) = delete;
  SharedArray& operator=(const SharedArray&) = delete;
  ~SharedArray() { ::munmap(items_, size_ * sizeof(T)); }

  [[nodiscard]] T& operator[](std::size_t index) const noexcept { return items_[index]; }
  [[nodiscard]] T* begin() const noexcept { return items_; }
  [[nodiscard]] T* end() const noexcept { return items_ + size_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  T* items_;
  std::size_t size_;
};

}  // namespace cache_cluster
