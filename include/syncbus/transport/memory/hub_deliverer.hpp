// Delivers on a hub: one thread at a time takes what is queued and calls the nodes' sinks.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <syncbus/base/time.hpp>
#include <syncbus/transport.hpp>
#include <syncbus/transport/memory/hub_clock.hpp>
#include <syncbus/transport/memory/hub_network.hpp>
#include <syncbus/transport/memory/hub_node.hpp>
#include <syncbus/transport/memory/hub_queue.hpp>

namespace syncbus::inline v1::detail {

/// Everything is called under the hub's lock, which is released while a sink is called; `progress` is told after each
/// call.
class HubDeliverer {
 public:
  using Lock = std::unique_lock<std::mutex>;
  using Due = HubNetwork::Due;

  HubDeliverer(HubNetwork& network, const HubClock& clock, std::condition_variable& progress) noexcept
      : network_{network}, clock_{clock}, progress_{progress} {}

  void push(HubItem item, Bytes bytes) {
    item.lost = item.origin->crashed;
    queue_.push(std::move(item), bytes);
    if (is_me()) promise_all();  // sinks that it calls broadcast
  }

  [[nodiscard]] bool queue_empty() const noexcept { return queue_.empty(); }

  /// The *drainer* is the thread that delivers now. Whether there is one; whether it is this thread; whether this
  /// thread may become it, and has something to do.
  [[nodiscard]] bool exists() const noexcept { return deliverer_ != std::thread::id{}; }
  [[nodiscard]] bool is_me() const noexcept { return deliverer_ == std::this_thread::get_id(); }
  [[nodiscard]] bool can_be_me() const noexcept { return !exists() && !queue_.empty(); }

  /// Whether the drainer is calling this node's sink.
  [[nodiscard]] bool is_telling(const HubNode& node) const noexcept { return telling_ == &node; }

  /// The drainer delivers what is queued now, even if it is `done()` before.
  void promise_all() noexcept { owed_ = queue_.size(); }

  /// As the drainer, until `done()` or nothing is queued.
  template <class Done>
  void drain(const Done& done, Lock& lock) noexcept {
    as_drainer([&] { deliver_queue(done, lock); });
  }

  /// What is queued now, and what comes of it.
  void drain_queued(Lock& lock) noexcept {
    promise_all();
    drain([] { return true; }, lock);
  }

  /// Does what is due, and delivers what comes of it until `done()`.
  template <class Done>
  void bring(const Due& due, const Done& done, Lock& lock) noexcept {
    as_drainer([&] {
      bring(due, lock);
      deliver_queue(done, lock);
    });
  }

 private:
  template <class Call>
  void tell(HubNode& node, Lock& lock, const Call& call) noexcept {
    TransportSink* const sink = node.sink;
    if (sink == nullptr) return;
    telling_ = &node;
    lock.unlock();
    call(*sink);
    lock.lock();
    telling_ = nullptr;
    progress_.notify_all();
  }

  /// How the network has a node hear a frame.
  [[nodiscard]] auto frame_heard(Lock& lock) noexcept {
    return [this, &lock](HubNode& node, Bytes bytes) {
      tell(node, lock, [bytes](TransportSink& sink) { sink.on_frame(bytes); });
    };
  }

  template <class Work>
  void as_drainer(const Work& work) noexcept {
    deliverer_ = std::this_thread::get_id();
    work();
    deliverer_ = {};
    progress_.notify_all();
  }

  template <class Done>
  void deliver_queue(const Done& done, Lock& lock) noexcept {
    while (!queue_.empty() && (owed_ != 0 || !done())) {
      HubItem item = queue_.take();
      if (owed_ != 0) --owed_;
      deliver(item, lock);
      queue_.recycle(item);
    }
  }

  void deliver(HubItem& item, Lock& lock) noexcept {
    if (item.kind == HubItem::Kind::reopen) return renew(*item.origin, item.token.session, lock);
    const bool broadcast = item.kind == HubItem::Kind::broadcast;
    if (broadcast && item.token.session != item.origin->session) return;  // that connection is gone
    if (!item.lost) {
      targets_ = network_.nodes();
      for (const auto& node : targets_) {
        if (!node->publish_only && (broadcast || item.destination == node->id)) {
          network_.pass_on(item, node, clock_.now(), frame_heard(lock));
        }
      }
      targets_.clear();
    }
    if (broadcast) tell(*item.origin, lock, [&](TransportSink& sink) { sink.on_confirmed(item.token); });
  }

  /// As a broken connection does: what was on its way to the node is lost.
  void renew(HubNode& node, std::uint64_t session, Lock& lock) noexcept {
    if (node.crashed || session != node.session) return;
    network_.lose_copies_to(node);
    ++node.session;
    tell(node, lock, [](TransportSink& sink) { sink.on_interrupted(); });
    tell(node, lock, [session](TransportSink& sink) { sink.on_ready(session + 1, max_frame_bytes); });
  }

  void bring(const Due& due, Lock& lock) noexcept {
    switch (due.what) {
      case Due::What::held: return network_.release_held(due.node, clock_.now(), frame_heard(lock));
      case Due::What::copy: return network_.bring_copy(frame_heard(lock));
      case Due::What::wake:
        due.node->wake = never;
        return tell(*due.node, lock, [](TransportSink& sink) { sink.on_wake(); });
    }
  }

  HubNetwork& network_;
  const HubClock& clock_;
  std::condition_variable& progress_;
  HubQueue queue_;
  std::vector<std::shared_ptr<HubNode>> targets_;
  const HubNode* telling_ = nullptr;  ///< whose sink is being called
  std::thread::id deliverer_;
  std::size_t owed_ = 0;              ///< so many of the queue's first are delivered whatever else is waited for
};

}  // namespace syncbus::inline v1::detail
