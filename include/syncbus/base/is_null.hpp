// Whether a callable calls nothing: an empty std::function, a null pointer. A lambda never is.
#pragma once

#include <type_traits>

namespace syncbus::inline v1::detail {

/// A lambda without captures converts to bool, too, by way of a function pointer: some compilers warn where it does.
template <class F>
concept Nullable = std::is_pointer_v<F> || std::is_member_pointer_v<F> || requires(const F& f) { f.operator bool(); };

template <class F>
[[nodiscard]] bool is_null(const F& callable) noexcept {
  if constexpr (Nullable<F>) {
    return !static_cast<bool>(callable);
  } else {
    return false;
  }
}

}  // namespace syncbus::inline v1::detail
