// The machine of machine.hpp, compiled once.
#include "support/machine.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace support {

Node::Node(const syncbus::core::ProtocolOptions& options, bool ready, syncbus::TimePoint begin)
    : machine{options}, self{options.self}, now{begin} {
  if (ready) on_ready(1);
}

Node::~Node() = default;

void Node::on_ready(std::uint64_t in, std::size_t frame_limit) {
  session = in;
  machine.on_ready(in, frame_limit, listening, now);
  act();
}

void Node::on_interrupted() {
  machine.on_interrupted(now);
  act();
}

void Node::on_confirmed(std::uint64_t sequence) {
  machine.on_confirmed(sequence);
  act();
}

void Node::on_frame(syncbus::Bytes frame) {
  machine.on_frame(frame, listening, now);
  act();
}

syncbus::core::Submitted Node::submit(const syncbus::core::WireEvent& event, bool may_join) {
  const auto result = machine.submit(event, may_join);
  act();
  return result;
}

syncbus::core::AwaitId Node::await(const std::vector<std::string>& keys, syncbus::Quorum quorum,
                                   syncbus::Duration timeout, bool heard_here) {
  const auto await_id = machine.open_await({.quorum = quorum,
                                            .events = static_cast<std::uint32_t>(keys.size()),
                                            .deadline = now + timeout,
                                            .heard_here = heard_here},
                                           now);
  if (!await_id) return 0;
  for (std::uint32_t i = 0; i != keys.size(); ++i) {
    (void)machine.submit({.key = keys[i]}, true, syncbus::core::Awaited{*await_id, i});
  }
  machine.submitted(*await_id);
  act();
  return *await_id;
}

void Node::pass_until(syncbus::TimePoint until) {
  for (int in_a_row = 0; wake && *wake <= until; in_a_row = wake && *wake <= now ? in_a_row + 1 : 0) {
    if (in_a_row == 100) throw std::logic_error{"the machine wants to be woken at once, again and again"};
    wake_up();
  }
  now = (std::max)(now, until);
}

void Node::wake_up() {
  now = (std::max)(now, wake.value_or(now));
  wake.reset();
  ++wakes;
  machine.tick(now);
  act();
}

void Node::act() {
  do {
    int count = 0;
    for (auto action = machine.next_action(now); action.kind != Kind::none; action = machine.next_action(now)) {
      if (++count == 100'000) throw std::logic_error{"the machine never has enough"};
      perform(action);
    }
    if (handlers_run) take_all();
  } while (echo() || (handlers_run && machine.has_received()));
}

bool Node::take() {
  if (!machine.take(item_)) return false;
  hear(item_);
  return true;
}

void Node::returned() {
  machine.release(std::exchange(answers_, {}), now);
  for (auto action = machine.next_action(now); action.kind != Kind::none; action = machine.next_action(now)) {
    perform(action);
  }
}

Lines Node::heard() {
  take_all();
  return std::exchange(lines_, {});
}

std::vector<Sent> Node::control(syncbus::core::FrameType type, std::size_t from) const {
  std::vector<Sent> all;
  std::copy_if(others.begin() + static_cast<std::ptrdiff_t>(from), others.end(), std::back_inserter(all),
               [type](const Sent& frame) { return frame.type == type; });
  return all;
}

std::vector<syncbus::core::Acknowledgement> Node::entries(bool questions, std::size_t from) const {
  std::vector<syncbus::core::Acknowledgement> all;
  for (const Sent& frame : control(syncbus::core::FrameType::acknowledgement, from)) {
    std::ranges::copy_if(acknowledgements_of(frame), std::back_inserter(all),
                         [questions](const auto& entry) { return (entry.status == Status::requested) == questions; });
  }
  return all;
}

syncbus::Duration Node::staleness() { return machine.health(now).staleness; }

Sent Node::newest_heartbeat() const {
  const auto all = heartbeats();
  const auto newest =
      std::find_if(all.rbegin(), all.rend(), [](const Sent& frame) { return frame.destination == syncbus::NodeId{}; });
  if (newest == all.rend()) throw std::logic_error{"it sent no heartbeat"};
  return *newest;
}

void Node::perform(const syncbus::core::Action& action) {
  if (action.kind == Kind::broadcast || action.kind == Kind::send) keep(action);
  if (action.kind == Kind::wake) wake = action.at;
  if (action.kind == Kind::doubled) doubled.push_back(action.destination);
  rooms += action.kind == Kind::room ? 1 : 0;
  dispatches += action.kind == Kind::dispatch ? 1 : 0;
  healths += action.kind == Kind::health ? 1 : 0;
  reopens += action.kind == Kind::reopen ? 1 : 0;
  if (action.kind != Kind::complete) return;
  while (auto done = machine.take_completion()) {
    ended.push_back({done->await_id, done->error, std::move(done->replicas), now});
  }
}

void Node::keep(const syncbus::core::Action& action) {
  const auto type = header_of(action.bytes).type;
  const bool to_all = action.destination == syncbus::NodeId{};
  Sent frame{.session = action.session,
             .sequence = action.sequence,
             .destination = action.destination,
             .type = type,
             .at = now,
             .bytes = {action.bytes.begin(), action.bytes.end()}};
  const bool counts = type != syncbus::core::FrameType::repair;
  if (counts && to_all) echoes_.push_back(frame.bytes);
  (type == syncbus::core::FrameType::events ? sent : others).push_back(frame);
  wire.push_back(std::move(frame));
}

bool Node::echo() {
  const auto frames = std::exchange(echoes_, {});
  if (!hears_itself || frames.empty()) return false;
  for (const Frame& frame : frames) machine.on_frame(frame, listening, now);
  return true;
}

void Node::take_all() {
  while (take()) returned();
}

void Node::hear(const syncbus::core::ReceiveQueue::Item& item) {
  using ItemKind = syncbus::core::ReceiveQueue::Item::Kind;
  if (item.kind == ItemKind::resync) return lines_.push_back(line_of(item.resync));
  if (item.kind == ItemKind::frame) return hear_frame(item);
  lines_.push_back(line_of(syncbus::Event{item.event.type, item.event.key, item.event.version, item.event.origin}));
  if (item.event.awaited.empty()) return;
  const Status status = handler(item.event.key);
  for (const auto& place : item.event.awaited) {
    answers_.push_back({item.event.origin, place.sequence, place.index, 1, status});
  }
}

void Node::hear_frame(const syncbus::core::ReceiveQueue::Item& item) {
  for (std::string line : lines_of(item.frame)) {
    for (const std::string_view type : {"set ", "remove "}) {  // handlers hear what is late as invalidations
      if (item.late && line.starts_with(type)) line.replace(0, type.size(), "invalidate ");
    }
    lines_.push_back(std::move(line));
  }
  auto events = syncbus::core::reread_events(item.frame);
  syncbus::core::WireEvent event;
  for (std::uint32_t index = 0; events.next(event); ++index) {
    if (event.awaited) answers_.push_back({events.origin(), events.sequence(), index, 1, handler(event.key)});
  }
}

}  // namespace support
