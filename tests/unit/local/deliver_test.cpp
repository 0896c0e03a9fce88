// What the dispatch loop does with an item: who hears what, and how awaited events are answered.
#include <syncbus/local/deliver.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/frames.hpp"

using namespace syncbus;
using core::Acknowledgement;
using core::ReceiveQueue;
using syncbus::KeySpace;
using core::WireEvent;
using detail::Subscribers;
using detail::Subscriber;
using support::events_frame;
using Status = core::AcknowledgementStatus;
using Answers = std::vector<Acknowledgement>;

namespace {

constexpr NodeId alice{1};
constexpr NodeId bob{2};

WireEvent awaited(std::string_view key, EventType type = EventType::invalidate) {
  return {.type = type, .key = key, .awaited = true};
}

/// The size of a queue in which everything joins; a constant makes g++ 12 see writes that never happen.
std::size_t no_ring() { return GENERATE(as<std::size_t>{}, 0); }

/// A node with one queue in front of its subscribers: of "good" keys, which hear, and of "bad" ones, which throw.
class Node {
 public:
  explicit Node(std::size_t queue_bytes = std::size_t{1} << 20U) : queue_{queue_bytes, std::size_t{1} << 20U} {
    const auto hear = [this](const Event& event) {
      heard += std::string{to_string(event.type)} + ' ' + std::string{event.key} + ' ';
    };
    const auto hear_resync = [this](const Resync& resync) {
      heard += "resync " + std::string{to_string(resync.cause)} + ' ';
    };
    subscriptions_.push_back(bus_->attach(KeySpace::prefix, "good", Subscriber{hear, hear_resync}, Scope::all));
    const auto fail = [](const Event&) { throw std::runtime_error{"no luck"}; };
    const auto ignore = [](const Resync&) {};
    subscriptions_.push_back(bus_->attach(KeySpace::lease, "lease", Subscriber{hear, ignore}, Scope::all));
    subscriptions_.push_back(bus_->attach(KeySpace::prefix, "bad", Subscriber{fail, ignore}, Scope::all));
  }

  void push(const support::Frame& frame, bool late = false) { queue_.push_frame(frame, late); }

  /// Delivers all that waits.
  Answers answers() {
    Answers answers;
    ReceiveQueue::Item item;
    while (queue_.take(item)) detail::deliver(item, *bus_, answers);
    return answers;
  }

  ReceiveQueue& queue() { return queue_; }

  std::string heard;

 private:
  std::shared_ptr<Subscribers> bus_ = std::make_shared<Subscribers>(nullptr);
  std::vector<Subscription> subscriptions_{};
  ReceiveQueue queue_;
};

}  // namespace

TEST_CASE("what nobody awaits is heard and not answered") {
  Node node{GENERATE(as<std::size_t>{}, 0, 1'000)};
  node.push(events_frame(alice, 1,
                         {{.key = "good"}, {.key = "bad"}, {.type = EventType::lease_revoked, .key = "lease"}}));
  CHECK(node.answers().empty());
  CHECK(node.heard == "invalidate good lease_revoked lease ");
}

TEST_CASE("an awaited event is answered by what became of it") {
  Node node{GENERATE(as<std::size_t>{}, 0, 1'000)};
  node.push(events_frame(alice, 7, {awaited("good"), awaited("bad"), awaited("nobody's"),
                                    awaited("lease", EventType::lease_revoked)}));
  CHECK(node.answers() == Answers{{alice, 7, 0, 1, Status::applied},
                                  {alice, 7, 1, 1, Status::failed},
                                  {alice, 7, 2, 1, Status::no_subscriber},
                                  {alice, 7, 3, 1, Status::applied}});
}

TEST_CASE("answers to consecutive events of one frame are one run while they are the same") {
  Node node{GENERATE(as<std::size_t>{}, 0, 1'000)};
  node.push(events_frame(alice, 7, {awaited("good 1"), awaited("good 2"), awaited("good 3"), {.key = "good 4"},
                                    awaited("good 5"), awaited("none 1"), awaited("none 2")}));
  node.push(events_frame(alice, 8, {{.key = "x"}, awaited("none 3")}));
  node.push(events_frame(bob, 8, {{.key = "x"}, {.key = "y"}, awaited("none 4")}));
  CHECK(node.answers() == Answers{{alice, 7, 0, 3, Status::applied},
                                  {alice, 7, 4, 1, Status::applied},
                                  {alice, 7, 5, 2, Status::no_subscriber},
                                  {alice, 8, 1, 1, Status::no_subscriber},
                                  {bob, 8, 2, 1, Status::no_subscriber}});
}

TEST_CASE("answers are added behind those that are there") {
  Node node;
  Answers answers{{alice, 1, 0, 1, Status::failed}};
  node.push(events_frame(alice, 2, {awaited("good")}));
  ReceiveQueue::Item item;
  REQUIRE(node.queue().take(item));
  const auto bus = std::make_shared<Subscribers>(nullptr);
  detail::deliver(item, *bus, answers);
  CHECK(answers == Answers{{alice, 1, 0, 1, Status::failed}, {alice, 2, 0, 1, Status::no_subscriber}});
}

TEST_CASE("set and remove events of a late frame are heard as invalidate, and answered") {
  Node node;
  node.push(events_frame(alice, 3, {awaited("good 1", EventType::set), awaited("good 2", EventType::remove),
                                    awaited("lease", EventType::lease_revoked)}),
            true);
  CHECK(node.answers() == Answers{{alice, 3, 0, 3, Status::applied}});
  CHECK(node.heard == "invalidate good 1 invalidate good 2 lease_revoked lease ");
}

TEST_CASE("events that joined are heard once and answered all") {
  Node node{no_ring()};
  node.push(events_frame(alice, 7, {awaited("good"), {.key = "other"}, awaited("good", EventType::set)}));
  node.push(events_frame(bob, 7, {awaited("good")}));
  node.push(events_frame(alice, 9, {{.key = "good"}}));
  node.push(events_frame(alice, 10, {awaited("bad"), awaited("bad", EventType::set), awaited("bad")}));
  CHECK(node.answers() == Answers{{bob, 7, 0, 1, Status::applied},
                                  {alice, 7, 0, 1, Status::applied},
                                  {alice, 7, 2, 1, Status::applied},
                                  {alice, 10, 0, 3, Status::failed}});
  CHECK(node.heard == "invalidate good invalidate good ");
}

TEST_CASE("a resync is heard by all and never answered, though a frame says that it is awaited") {
  Node node{GENERATE(as<std::size_t>{}, 0, 1'000)};
  const WireEvent resync{.type = EventType::resync, .cause = ResyncCause::requested, .awaited = true};
  node.push(events_frame(alice, 7, {resync, awaited("good")}));
  CHECK(node.answers() == Answers{{alice, 7, 1, 1, Status::applied}});
  CHECK(node.heard == "resync requested invalidate good ");
}

TEST_CASE("an awaited event of a kind from the future is heard as a resync and never answered") {
  Node node;
  auto frame = events_frame(alice, 7, {awaited("good")});
  frame = support::altered(std::move(frame), core::events_header_bytes, std::byte{0x0F | core::event_awaited});
  node.push(frame);
  CHECK(node.answers().empty());
  CHECK(node.heard == "resync incompatible ");
}

TEST_CASE("what joined up to a resync is not answered") {
  Node node{no_ring()};
  node.push(events_frame(alice, 7, {awaited("good")}));
  node.queue().push_resync({ResyncCause::interrupted, {}});
  CHECK(node.answers().empty());
  CHECK(node.heard == "resync interrupted ");
}
