// The callable that hears how an await ended: move-only, stored inline when it is small.
#pragma once

#include <concepts>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <syncbus/base/is_null.hpp>
#include <syncbus/quorum.hpp>

namespace syncbus::inline v1::detail {

/// A move-only `void(AwaitOutcome)`, called once. What takes at most `inline_bytes` (three captures) lies inside.
class Completion {
 public:
  static constexpr std::size_t inline_bytes = 3 * sizeof(void*);

  /// Nobody.
  Completion() noexcept = default;

  template <class F>
    requires(!std::same_as<std::decay_t<F>, Completion> && std::invocable<std::decay_t<F>&, AwaitOutcome>)
  explicit Completion(F&& callable) {
    using Callable = std::decay_t<F>;
    null_ = is_null<Callable>(callable);
    if constexpr (fits<Callable>) {
      ::new (static_cast<void*>(storage_)) Callable(std::forward<F>(callable));
    } else {
      ::new (static_cast<void*>(storage_)) Callable* {new Callable(std::forward<F>(callable))};
    }
    verbs_ = &verbs<Callable>;
  }

  Completion(Completion&& other) noexcept : verbs_{std::exchange(other.verbs_, nullptr)}, null_{other.null_} {
    if (verbs_ != nullptr) verbs_->move(storage_, other.storage_);
  }
  Completion& operator=(Completion&&) = delete;
  ~Completion() {
    if (verbs_ != nullptr) verbs_->destroy(storage_);
  }

  [[nodiscard]] explicit operator bool() const noexcept { return verbs_ != nullptr; }

  /// Whether there is none, or it is a null pointer or an empty function object.
  [[nodiscard]] bool null() const noexcept { return verbs_ == nullptr || null_; }

  void operator()(AwaitOutcome outcome) { verbs_->call(storage_, std::move(outcome)); }

 private:
  struct Verbs {
    void (*call)(void*, AwaitOutcome&&);
    void (*move)(void*, void*) noexcept;
    void (*destroy)(void*) noexcept;
  };

  template <class F>
  static constexpr bool fits = sizeof(F) <= inline_bytes && alignof(F) <= alignof(void*) &&
                               std::is_nothrow_move_constructible_v<F>;

  template <class F>
  static F& get(void* storage) noexcept {
    if constexpr (fits<F>) {
      return *std::launder(static_cast<F*>(storage));
    } else {
      return **std::launder(static_cast<F**>(storage));
    }
  }

  template <class F>
  static void move(void* to, void* from) noexcept {
    if constexpr (fits<F>) {
      ::new (to) F(std::move(get<F>(from)));
      get<F>(from).~F();
    } else {
      ::new (to) F* {*std::launder(static_cast<F**>(from))};
    }
  }

  template <class F>
  static void destroy(void* storage) noexcept {
    if constexpr (fits<F>) {
      get<F>(storage).~F();
    } else {
      delete *std::launder(static_cast<F**>(storage));
    }
  }

  template <class F>
  static void call(void* storage, AwaitOutcome&& outcome) {
    static_cast<void>(get<F>(storage)(std::move(outcome)));
  }

  template <class F>
  [[gnu::visibility("hidden")]] static constexpr Verbs verbs{call<F>, move<F>, destroy<F>};  // see Subscriber

  const Verbs* verbs_ = nullptr;
  bool null_ = false;
  alignas(void*) std::byte storage_[inline_bytes];
};

}  // namespace syncbus::inline v1::detail
