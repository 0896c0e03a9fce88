// The meeting place of several InMemoryBus nodes of one process: it delivers frames inline, in one order for all.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <syncbus/detail/handler_scope.hpp>
#include <syncbus/event.hpp>
#include <syncbus/transport.hpp>

namespace syncbus::inline v1 {

namespace detail {

/// The queue of a hub and its nodes. One thread at a time drains it, and holds no lock while a node hears a frame; what
/// others broadcast meanwhile queues behind.
class HubState : public std::enable_shared_from_this<HubState> {
 public:
  /// A node's place: it stays while frames of the node are under way, without a sink once the node has left.
  struct Node {
    NodeId id;
    bool publish_only = false;
    TransportSink* sink = nullptr;
  };

  [[nodiscard]] std::shared_ptr<Node> join(const TransportSettings& settings, TransportSink& sink) {
    auto node = std::make_shared<Node>(Node{settings.self, settings.publish_only, &sink});
    const std::lock_guard lock{mutex_};
    nodes_.push_back(node);
    return node;
  }

  /// When it returns, nobody calls the node's sink, and nobody will.
  void leave(const std::shared_ptr<Node>& node) noexcept {
    std::unique_lock lock{mutex_};
    std::erase(nodes_, node);
    node->sink = nullptr;
    if (drainer_ == std::this_thread::get_id()) return;
    progress_.wait(lock, [&] { return hearing_ != node.get(); });
  }

  void broadcast(const std::shared_ptr<Node>& origin, Bytes bytes, BroadcastToken token) {
    enqueue({.origin = origin, .token = token}, bytes);
  }

  void send(NodeId destination, Bytes bytes) { enqueue({.destination = destination}, bytes); }

  /// Drains the hub until `done()`; while another thread does that, waits. Inside a handler it comes back at once, and the
  /// work is done when that handler's dispatch has ended. `done` is called under the hub's lock.
  template <class Done>
  void settle(const Done& done) noexcept {
    if (in_handler()) {
      HandlerScope::defer([self = shared_from_this()]() noexcept { self->settle_all(); });
      return;
    }
    std::unique_lock lock{mutex_};
    if (drainer_ == std::this_thread::get_id()) return;
    while (!done()) {
      if (drainer_ == std::thread::id{} && !queue_empty()) {
        drain(done, lock);
      } else {
        ++waiting_;
        progress_.wait(lock);
        --waiting_;
      }
    }
  }

 private:
  struct Item {
    std::shared_ptr<Node> origin{};
    NodeId destination{};
    BroadcastToken token{};
    std::vector<std::byte> bytes{};
  };

  void enqueue(Item item, Bytes bytes) {
    const std::lock_guard lock{mutex_};
    if (!spare_.empty()) {
      item.bytes = std::move(spare_.back());
      spare_.pop_back();
    }
    item.bytes.assign(bytes.begin(), bytes.end());
    queue_.push_back(std::move(item));
    if (drainer_ == std::this_thread::get_id()) owed_ = queue_.size() - first_;
    if (waiting_ != 0) progress_.notify_all();
  }

  void settle_all() noexcept {
    settle([this] { return queue_empty(); });
  }

  /// Under the lock.
  [[nodiscard]] bool queue_empty() const noexcept { return first_ == queue_.size(); }

  template <class Done>
  void drain(const Done& done, std::unique_lock<std::mutex>& lock) noexcept {
    drainer_ = std::this_thread::get_id();
    while (!queue_empty() && (owed_ != 0 || !done())) {
      Item item = std::move(queue_[first_++]);
      if (owed_ != 0) --owed_;
      if (queue_empty()) {
        queue_.clear();
        first_ = 0;
      }
      deliver(item, lock);
      spare_.push_back(std::move(item.bytes));
    }
    drainer_ = {};
    progress_.notify_all();
  }

  void deliver(const Item& item, std::unique_lock<std::mutex>& lock) noexcept {
    targets_ = nodes_;
    for (const auto& node : targets_) {
      if (!node->publish_only && (item.destination == NodeId{} || item.destination == node->id)) {
        tell(*node, lock, [&](TransportSink& sink) { sink.on_frame(item.bytes); });
      }
    }
    if (item.origin) tell(*item.origin, lock, [&](TransportSink& sink) { sink.on_confirmed(item.token); });
    targets_.clear();
  }

  template <class Call>
  void tell(Node& node, std::unique_lock<std::mutex>& lock, const Call& call) noexcept {
    TransportSink* const sink = node.sink;
    if (sink == nullptr) return;
    hearing_ = &node;
    lock.unlock();
    call(*sink);
    lock.lock();
    hearing_ = nullptr;
    progress_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable progress_;
  std::vector<std::shared_ptr<Node>> nodes_;
  std::vector<Item> queue_;  // from first_ on
  std::size_t first_ = 0;
  std::vector<std::vector<std::byte>> spare_;
  std::vector<std::shared_ptr<Node>> targets_;  // of the drainer
  const Node* hearing_ = nullptr;               // whose sink the drainer is calling
  std::thread::id drainer_;
  std::size_t owed_ = 0;  // so many from first_ on are the drainer's to deliver: handlers that it ran published the last
  std::size_t waiting_ = 0;
};

}  // namespace detail

/// Where InMemoryBus nodes of one process meet. Each publish is delivered inline: when it returns, outside handlers, every
/// node on the hub has heard it, through the same engine and codec that brokers use.
///
/// Thread safety: shared objects safe. It may end before its nodes, which keep what is behind it alive.
class InMemoryHub {
 public:
  InMemoryHub() : state_{std::make_shared<detail::HubState>()} {}

  InMemoryHub(const InMemoryHub&) = delete;
  InMemoryHub& operator=(const InMemoryHub&) = delete;

 private:
  friend class InMemoryBus;

  std::shared_ptr<detail::HubState> state_;
};

}  // namespace syncbus::inline v1
