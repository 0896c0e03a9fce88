// Storage of a callable behind erased types: in place when it is small, else on the heap.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace syncbus::inline v1::detail {

/// How a T lies in storage of `bytes` bytes that is aligned as a pointer. A class that erases T keeps pointers to these
/// functions.
template <class T, std::size_t bytes>
struct InlineStorage {
  static constexpr bool in_place =
      sizeof(T) <= bytes && alignof(T) <= alignof(void*) && std::is_nothrow_move_constructible_v<T>;

  /// Allocates, and may throw, only when it is not in place.
  template <class... Args>
  static void make(void* storage, Args&&... args) {
    if constexpr (in_place) {
      ::new (storage) T(std::forward<Args>(args)...);
    } else {
      ::new (storage) T* {new T(std::forward<Args>(args)...)};
    }
  }

  [[nodiscard]] static T& get(void* storage) noexcept {
    if constexpr (in_place) {
      return *std::launder(static_cast<T*>(storage));
    } else {
      return **std::launder(static_cast<T**>(storage));
    }
  }

  /// Leaves nothing to destroy in `from`.
  static void move(void* to, void* from) noexcept {
    if constexpr (in_place) {
      ::new (to) T(std::move(get(from)));
      get(from).~T();
    } else {
      ::new (to) T* {*std::launder(static_cast<T**>(from))};
    }
  }

  static void destroy(void* storage) noexcept {
    if constexpr (in_place) {
      get(storage).~T();
    } else {
      delete *std::launder(static_cast<T**>(storage));
    }
  }
};

}  // namespace syncbus::inline v1::detail
