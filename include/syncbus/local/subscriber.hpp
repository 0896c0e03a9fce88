// The target of a subscription behind one type: a handler of events, handlers of events and resyncs, or a mailbox.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include <syncbus/base/inline_storage.hpp>
#include <syncbus/base/is_null.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::detail {

/// What became of an event that was put into a mailbox.
struct PutResult {
  bool stored = true;       ///< false: the mailbox is closed
  bool overflowed = false;  ///< everything joined to a resync, cause overflow
  std::uint32_t joined = 0; ///< events that were absorbed
};

class ForkMark;
class Waiting;

/// Where a mailbox takes what is dispatched to it. Calls are short and run no user code.
class MailboxSink {
 public:
  /// Once, before anything is put. `waiting`: how whoever reads it waits; null: on the steady clock.
  virtual void attached_to(std::shared_ptr<Waiting> waiting, const ForkMark& fork_mark) noexcept = 0;
  virtual PutResult put(const Event& event) noexcept = 0;
  virtual PutResult put_resync(const Resync& resync) noexcept = 0;
  virtual void close() noexcept = 0;

 protected:
  ~MailboxSink() = default;
};

template <class H>
struct EventCaller {
  H on_event;

  [[nodiscard]] bool null() const noexcept { return is_null(on_event); }
  PutResult event(const Event& event) {
    static_cast<void>(std::invoke(on_event, event));
    return {};
  }
  PutResult resync(const Resync& resync, std::string_view key) {
    static_cast<void>(std::invoke(on_event, Event{EventType::resync, key, 0, resync.peer}));
    return {};
  }
  void attached_to(const std::shared_ptr<Waiting>&, const ForkMark&) noexcept {}
  void close() noexcept {}
};

template <class H, class R>
struct PairCaller {
  H on_event;
  R on_resync;

  [[nodiscard]] bool null() const noexcept { return is_null(on_event) || is_null(on_resync); }
  PutResult event(const Event& event) {
    static_cast<void>(std::invoke(on_event, event));
    return {};
  }
  PutResult resync(const Resync& resync, std::string_view) {
    static_cast<void>(std::invoke(on_resync, resync));
    return {};
  }
  void attached_to(const std::shared_ptr<Waiting>&, const ForkMark&) noexcept {}
  void close() noexcept {}
};

struct MailboxCaller {
  std::shared_ptr<MailboxSink> mailbox;

  [[nodiscard]] bool null() const noexcept { return false; }
  PutResult event(const Event& event) noexcept { return mailbox->put(event); }
  PutResult resync(const Resync& resync, std::string_view) noexcept { return mailbox->put_resync(resync); }
  void attached_to(const std::shared_ptr<Waiting>& waiting, const ForkMark& fork_mark) noexcept {
    mailbox->attached_to(waiting, fork_mark);
  }
  void close() noexcept { mailbox->close(); }
};

/// One of the three, owned; move-only. What takes at most `inline_bytes` (four pointers: a caller of three captures)
/// lies inside, so subscribing it allocates nothing for it. A handler may throw through event() and resync().
class Subscriber {
 public:
  static constexpr std::size_t inline_bytes = 4 * sizeof(void*);

  template <class H>
    requires(!std::same_as<std::decay_t<H>, Subscriber> && std::invocable<std::decay_t<H>&, const Event&>)
  explicit Subscriber(H&& handler) {
    emplace(EventCaller<std::decay_t<H>>{std::forward<H>(handler)});
  }

  template <class H, class R>
  Subscriber(H&& on_event, R&& on_resync) {
    emplace(PairCaller<std::decay_t<H>, std::decay_t<R>>{std::forward<H>(on_event), std::forward<R>(on_resync)});
  }

  explicit Subscriber(std::shared_ptr<MailboxSink> mailbox) { emplace(MailboxCaller{std::move(mailbox)}); }

  /// Of the one that was moved from, only the destructor may be called.
  Subscriber(Subscriber&& other) noexcept : event_{other.event_}, verbs_{std::exchange(other.verbs_, nullptr)} {
    verbs_->move(storage_, other.storage_);
  }
  Subscriber& operator=(Subscriber&&) = delete;
  ~Subscriber() {
    if (verbs_ != nullptr) verbs_->destroy(storage_);
  }

  /// Whether a callable is a null pointer or an empty function object.
  [[nodiscard]] bool null() const noexcept { return verbs_->null(storage_); }

  PutResult event(const Event& event) { return event_(storage_, event); }
  PutResult resync(const Resync& resync, std::string_view key) { return verbs_->resync(storage_, resync, key); }
  void attached_to(const std::shared_ptr<Waiting>& waiting, const ForkMark& fork_mark) noexcept {
    verbs_->attached_to(storage_, waiting, fork_mark);
  }
  void close() noexcept { verbs_->close(storage_); }

 private:
  struct Verbs {
    PutResult (*resync)(void*, const Resync&, std::string_view);
    void (*attached_to)(void*, const std::shared_ptr<Waiting>&, const ForkMark&) noexcept;
    void (*close)(void*) noexcept;
    bool (*null)(const void*) noexcept;
    void (*move)(void*, void*) noexcept;
    void (*destroy)(void*) noexcept;
  };

  template <class Caller>
  struct Access : InlineStorage<Caller, inline_bytes> {
    using InlineStorage<Caller, inline_bytes>::get;

    static PutResult event(void* storage, const Event& event) { return get(storage).event(event); }
    static PutResult resync(void* storage, const Resync& resync, std::string_view key) {
      return get(storage).resync(resync, key);
    }
    static void attached_to(void* storage, const std::shared_ptr<Waiting>& waiting, const ForkMark& mark) noexcept {
      get(storage).attached_to(waiting, mark);
    }
    static void close(void* storage) noexcept { get(storage).close(); }
    static bool null(const void* storage) noexcept { return get(const_cast<void*>(storage)).null(); }
    // Hidden: of two plugins whose handlers have one name, each has its own.
    [[gnu::visibility("hidden")]] static constexpr Verbs verbs{
        resync, attached_to, close, null, InlineStorage<Caller, inline_bytes>::move,
        InlineStorage<Caller, inline_bytes>::destroy};
  };

  template <class Caller>
  void emplace(Caller&& caller) {
    Access<Caller>::make(storage_, std::move(caller));
    event_ = Access<Caller>::event;
    verbs_ = &Access<Caller>::verbs;
  }

  PutResult (*event_)(void*, const Event&) = nullptr;  // beside the caller: one load less for each event
  const Verbs* verbs_ = nullptr;
  alignas(void*) std::byte storage_[inline_bytes];
};

}  // namespace syncbus::inline v1::detail
