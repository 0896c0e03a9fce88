// Any bus behind one type, so that the suite is compiled once and not once for each broker.
#pragma once

#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <syncbus/bus.hpp>

namespace contract {

/// The verbs of a Bus, each overload by itself; what they mean is the Bus's affair.
class AnyBus {
 public:
  using Key = std::string_view;
  using Keys = std::span<const std::string_view>;
  using KeyList = std::initializer_list<std::string_view>;
  using Strings = std::vector<std::string>;
  using OnEvent = std::function<void(const syncbus::Event&)>;
  using OnResync = std::function<void(const syncbus::Resync&)>;
  using OnOutcome = std::function<void(syncbus::AwaitOutcome)>;
  using Await = syncbus::AwaitOptions;
  using Box = syncbus::MailboxOptions;
  using Publish = syncbus::PublishOptions;

  AnyBus() = default;
  AnyBus(const AnyBus&) = delete;
  AnyBus& operator=(const AnyBus&) = delete;
  virtual ~AnyBus() = default;

  [[nodiscard]] virtual std::error_code publish(Key, Publish = {}) noexcept = 0;
  [[nodiscard]] virtual std::error_code publish(Keys, Publish = {}) noexcept = 0;
  [[nodiscard]] virtual std::error_code publish(KeyList, Publish = {}) noexcept = 0;
  [[nodiscard]] virtual std::error_code publish(const Strings&, Publish = {}) = 0;
  [[nodiscard]] virtual std::error_code publish_all(Publish = {}) noexcept = 0;
  [[nodiscard]] virtual std::error_code revoke_lease(Key, Publish = {}) noexcept = 0;

  [[nodiscard]] virtual syncbus::AwaitOutcome publish_and_await(Key, syncbus::Quorum, Await = {}) = 0;
  [[nodiscard]] virtual syncbus::AwaitOutcome publish_and_await(Keys, syncbus::Quorum, Await = {}) = 0;
  [[nodiscard]] virtual syncbus::AwaitOutcome publish_and_await(KeyList, syncbus::Quorum, Await = {}) = 0;
  [[nodiscard]] virtual syncbus::AwaitOutcome publish_and_await(const Strings&, syncbus::Quorum, Await = {}) = 0;
  [[nodiscard]] virtual syncbus::AwaitOutcome revoke_lease_and_await(Key, syncbus::Quorum, Await = {}) = 0;
  virtual void async_publish_and_await(Key, syncbus::Quorum, Await, OnOutcome) = 0;
  virtual void async_publish_and_await(KeyList, syncbus::Quorum, Await, OnOutcome) = 0;

  [[nodiscard]] virtual syncbus::Subscription subscribe(Key, OnEvent, syncbus::Scope = syncbus::Scope::all) = 0;
  [[nodiscard]] virtual syncbus::Mailbox subscribe(Key, Box = {}) = 0;
  [[nodiscard]] virtual syncbus::Subscription subscribe_prefix(Key, OnEvent, OnResync,
                                                               syncbus::Scope = syncbus::Scope::all) = 0;
  [[nodiscard]] virtual syncbus::Mailbox subscribe_prefix(Key, Box = {}) = 0;
  [[nodiscard]] virtual syncbus::Subscription subscribe_all(OnEvent, OnResync,
                                                            syncbus::Scope = syncbus::Scope::all) = 0;
  [[nodiscard]] virtual syncbus::Mailbox subscribe_all(Box = {}) = 0;
  [[nodiscard]] virtual syncbus::Subscription subscribe_lease(Key, OnEvent, syncbus::Scope = syncbus::Scope::all) = 0;
  [[nodiscard]] virtual syncbus::Mailbox subscribe_lease(Key, Box = {}) = 0;

  [[nodiscard]] virtual std::error_code flush(syncbus::Duration) = 0;
  [[nodiscard]] virtual std::error_code close(syncbus::Duration) = 0;
  [[nodiscard]] virtual syncbus::Metrics metrics() const = 0;
  [[nodiscard]] virtual bool is_healthy() const noexcept = 0;
  [[nodiscard]] virtual syncbus::Duration staleness() const = 0;
  [[nodiscard]] virtual std::vector<syncbus::Peer> peers() const = 0;
  [[nodiscard]] virtual syncbus::NodeId id() const noexcept = 0;
};

/// Constructed as B is.
template <syncbus::Bus B>
class BusOf final : public AnyBus {
 public:
  template <class... Args>
  explicit BusOf(Args&&... args) : bus_{std::forward<Args>(args)...} {}

 private:
  using Quorum = syncbus::Quorum;
  using Outcome = syncbus::AwaitOutcome;
  using Scope = syncbus::Scope;

  std::error_code publish(Key key, Publish options) noexcept override { return bus_.publish(key, options); }
  std::error_code publish(Keys keys, Publish options) noexcept override { return bus_.publish(keys, options); }
  std::error_code publish(KeyList keys, Publish options) noexcept override { return bus_.publish(keys, options); }
  std::error_code publish(const Strings& keys, Publish options) override { return bus_.publish(keys, options); }
  std::error_code publish_all(Publish options) noexcept override { return bus_.publish_all(options); }
  std::error_code revoke_lease(Key id, Publish options) noexcept override { return bus_.revoke_lease(id, options); }

  Outcome publish_and_await(Key key, Quorum quorum, Await options) override {
    return bus_.publish_and_await(key, quorum, std::move(options));
  }
  Outcome publish_and_await(Keys keys, Quorum quorum, Await options) override {
    return bus_.publish_and_await(keys, quorum, std::move(options));
  }
  Outcome publish_and_await(KeyList keys, Quorum quorum, Await options) override {
    return bus_.publish_and_await(keys, quorum, std::move(options));
  }
  Outcome publish_and_await(const Strings& keys, Quorum quorum, Await options) override {
    return bus_.publish_and_await(keys, quorum, std::move(options));
  }
  Outcome revoke_lease_and_await(Key id, Quorum quorum, Await options) override {
    return bus_.revoke_lease_and_await(id, quorum, std::move(options));
  }
  void async_publish_and_await(Key key, Quorum quorum, Await options, OnOutcome completion) override {
    bus_.async_publish_and_await(key, quorum, std::move(options), std::move(completion));
  }
  void async_publish_and_await(KeyList keys, Quorum quorum, Await options, OnOutcome completion) override {
    bus_.async_publish_and_await(keys, quorum, std::move(options), std::move(completion));
  }

  syncbus::Subscription subscribe(Key key, OnEvent on_event, Scope from) override {
    return bus_.subscribe(key, std::move(on_event), from);
  }
  syncbus::Mailbox subscribe(Key key, Box options) override { return bus_.subscribe(key, std::move(options)); }
  syncbus::Subscription subscribe_prefix(Key prefix, OnEvent on_event, OnResync on_resync, Scope from) override {
    return bus_.subscribe_prefix(prefix, std::move(on_event), std::move(on_resync), from);
  }
  syncbus::Mailbox subscribe_prefix(Key prefix, Box options) override {
    return bus_.subscribe_prefix(prefix, std::move(options));
  }
  syncbus::Subscription subscribe_all(OnEvent on_event, OnResync on_resync, Scope from) override {
    return bus_.subscribe_all(std::move(on_event), std::move(on_resync), from);
  }
  syncbus::Mailbox subscribe_all(Box options) override { return bus_.subscribe_all(std::move(options)); }
  syncbus::Subscription subscribe_lease(Key id, OnEvent on_event, Scope from) override {
    return bus_.subscribe_lease(id, std::move(on_event), from);
  }
  syncbus::Mailbox subscribe_lease(Key id, Box options) override {
    return bus_.subscribe_lease(id, std::move(options));
  }

  std::error_code flush(syncbus::Duration timeout) override { return bus_.flush(timeout); }
  std::error_code close(syncbus::Duration timeout) override { return bus_.close(timeout); }
  syncbus::Metrics metrics() const override { return bus_.metrics(); }
  bool is_healthy() const noexcept override { return bus_.is_healthy(); }
  syncbus::Duration staleness() const override { return bus_.staleness(); }
  std::vector<syncbus::Peer> peers() const override { return bus_.peers(); }
  syncbus::NodeId id() const noexcept override { return bus_.id(); }

  B bus_;
};

}  // namespace contract
