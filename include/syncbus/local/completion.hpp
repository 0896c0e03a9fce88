// The callable that hears how an await ended: move-only, stored inline when it is small.
#pragma once

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

#include <syncbus/base/inline_storage.hpp>
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
    InlineStorage<Callable, inline_bytes>::make(storage_, std::forward<F>(callable));
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
  static void call(void* storage, AwaitOutcome&& outcome) {
    static_cast<void>(InlineStorage<F, inline_bytes>::get(storage)(std::move(outcome)));
  }

  template <class F>
  [[gnu::visibility("hidden")]] static constexpr Verbs verbs{  // see Subscriber
      call<F>, InlineStorage<F, inline_bytes>::move, InlineStorage<F, inline_bytes>::destroy};

  const Verbs* verbs_ = nullptr;
  bool null_ = false;
  alignas(void*) std::byte storage_[inline_bytes];
};

}  // namespace syncbus::inline v1::detail
