// Answers hellos: which node answers, when, and with what welcome.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <syncbus/base/byte_budget.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/core/peers/peer_table.hpp>
#include <syncbus/core/wire/welcome_frame.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// The peers that can welcome are live, neither publish_only nor observers, and not joining themselves. The one with
/// the smallest id answers a first hello; three answer a second hello, nine a third, and so on. Each decides by itself,
/// from its own table. Where tables differ two answer, or none, and the hello comes again.
///
/// Who has too many peers to know all leaves a first hello to others. Where nobody knows all, one that joins would find
/// nobody: so it answers a second one, also of those for whom it has no room itself. Then they know at least that.
///
/// One welcome serves all who asked within a few milliseconds: each alone, or everybody if they are half of all. Two
/// budgets bound how often. A share of the control rate, a token bucket of a second, does not hold up a start of many:
/// a node that is not answered in time says hello again, to all. The other counts bytes, since a liar can invent
/// thousands of nodes with long names.
class Greeter {
 public:
  static constexpr Duration gathering = std::chrono::milliseconds{2};
  static constexpr Duration saved = std::chrono::seconds{1};  ///< of the share, at most, while nobody asks
  static constexpr std::size_t bytes_a_second = std::size_t{16} << 20U;
  static constexpr std::size_t most_strangers = 64;  ///< without room, who wait for a welcome
  static constexpr Duration joining_time = std::chrono::milliseconds{200};  ///< so long who said hello is no greeter

  /// `answer_rate`: deliveries a second.
  Greeter(NodeId self, bool greets, std::size_t answer_rate) noexcept
      : self_{self}, greets_{greets}, a_delivery_{std::chrono::seconds{1}} {
    a_delivery_ /= static_cast<Duration::rep>((std::max)(answer_rate, std::size_t{1}));
  }

  /// A peer said hello, for the `attempt`-th time.
  void asked(PeerState& peer, std::uint64_t attempt, TimePoint now) noexcept {
    peer.joins_until = now + joining_time;
    if (attempt <= peer.hello) return;
    peer.hello = attempt;
    if (!greets_) return;
    peer.wants_welcome = true;
    answer_soon(now);
  }

  /// The same of one for whom there is no room.
  void asked_by_stranger(NodeId node, std::uint64_t attempt, TimePoint now) {
    if (!greets_ || strangers_.size() == most_strangers) return;
    strangers_.push_back({node, attempt});
    answer_soon(now);
  }

  /// When a welcome is to be written, or goes out.
  [[nodiscard]] TimePoint due() const noexcept { return next_ == 0 ? due_ : (TimePoint::min)(); }

  struct Welcome {
    NodeId destination{};  ///< 0: everybody
    std::size_t bytes = 0;
  };

  /// The next frame of a welcome that is due, into `out`, which is as large as a frame may be. `own`: what it says
  /// about this node, whose session it is. `left_out`: it does not know everybody.
  [[nodiscard]] std::optional<Welcome> next(std::span<std::byte> out, const WelcomeEntry& own, PeerTable& peers,
                                            bool left_out, std::uint64_t session, TimePoint now) {
    if (next_ == 0 && !begin(out, own, peers, left_out, session, now)) return std::nullopt;
    const std::size_t part = (next_ - 1) % frames_.size();
    const NodeId destination = askers_[(next_ - 1) / frames_.size()];
    const Welcome welcome{destination, frames_[part].size()};
    next_ = next_ == frames_.size() * askers_.size() ? 0 : next_ + 1;
    if (welcome.bytes <= out.size()) {  // or the broker takes less than it did
      std::ranges::copy(frames_[part], out.begin());
      address_welcome(out.first(welcome.bytes), self_, destination, static_cast<std::uint16_t>(part),
                      static_cast<std::uint16_t>(frames_.size()));
    }
    if (next_ == 0) frames_.clear();
    return welcome.bytes <= out.size() ? std::optional{welcome} : std::nullopt;
  }

  /// A session begins: what was under way in the last is not any more.
  void begin_session() noexcept {
    next_ = 0;
    frames_.clear();
  }

 private:
  /// As soon as others have had time to ask as well, and both budgets allow it.
  void answer_soon(TimePoint now) noexcept {
    due_ = (std::min)(due_, (std::max)({now + gathering, paid_until_ - saved, again_at_}));
  }

  /// Begins a welcome, if there is a node to answer and this node is the one that answers.
  [[nodiscard]] bool begin(std::span<std::byte> out, const WelcomeEntry& own, PeerTable& peers, bool left_out,
                           std::uint64_t session, TimePoint now) {
    if (now < due_) return false;
    due_ = detail::never;
    std::uint64_t rank = left_out ? 1 : 0;
    peers.for_each([&](NodeId id, const PeerState& peer) {
      if (id < self_ && peer.greets && peer.live() && now >= peer.joins_until) ++rank;
    });
    askers_.clear();
    peers.for_each([&](NodeId id, PeerState& peer) {
      if (std::exchange(peer.wants_welcome, false) && peer.live() && rank < answering(peer.hello)) {
        askers_.push_back(id);
      }
    });
    std::size_t deliveries = askers_.size();
    if (askers_.size() > 1 && 2 * askers_.size() >= peers.nodes()) {
      askers_ = {NodeId{}};
      deliveries = peers.nodes();
    }
    for (const auto& [id, attempt] : std::exchange(strangers_, {})) {  // each alone: the welcome does not name them
      if (rank >= answering(attempt)) continue;
      askers_.push_back(id);
      ++deliveries;
    }
    if (askers_.empty()) return false;
    paid_until_ = (std::max)(paid_until_, now) + a_delivery_ * static_cast<Duration::rep>(deliveries);
    write(out, own, peers, session);
    next_ = frames_.empty() ? 0 : 1;
    if (next_ != 0) pay(peers, now);
    return next_ != 0;
  }

  /// Answers as many as there are bytes for, at least one; the others when there are some again.
  void pay(PeerTable& peers, TimePoint now) {
    std::size_t bytes = 0;
    for (const auto& frame : frames_) bytes += frame.size();
    const std::size_t most = (std::max)(std::size_t{1}, budget_.left(now) / bytes);
    const bool more = askers_.size() > most;
    for (; askers_.size() > most; askers_.pop_back()) {
      if (PeerState* const peer = peers.find(askers_.back())) peer->wants_welcome = true;  // a stranger asks again
    }
    budget_.owe(bytes * askers_.size());
    again_at_ = (std::max)(again_at_, now + budget_.until_paid());
    if (more) due_ = again_at_;
  }

  /// How many peers answer a hello of this attempt: 1, 3, 9 …
  [[nodiscard]] static std::uint64_t answering(std::uint64_t attempt) noexcept {
    std::uint64_t count = 1;
    for (std::uint64_t i = 1; i < (std::min)(attempt, std::uint64_t{12}); ++i) count *= 3;
    return count;
  }

  void write(std::span<std::byte> out, const WelcomeEntry& own, PeerTable& peers, std::uint64_t session) {
    frames_.clear();
    ++number_;
    WelcomeWriter writer{out};
    bool any = writer.add(own);
    const auto end_frame = [&] {
      const std::size_t size = any ? writer.finish(number_) : 0;
      if (size != 0) frames_.emplace_back(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size));
      writer = WelcomeWriter{out};
      any = false;
    };
    peers.for_each([&](NodeId id, const PeerState& peer) {
      if (!peer.live()) return;
      const WelcomeEntry entry = entry_of(id, peer, peer.reconciled_in == session);
      if (!writer.add(entry)) {
        end_frame();
        any = writer.add(entry);
      } else {
        any = true;
      }
    });
    end_frame();
    if (frames_.size() > max_welcome_parts) frames_.clear();
  }

  /// `current`: it has said how far it is since the session began.
  [[nodiscard]] static WelcomeEntry entry_of(NodeId id, const PeerState& peer, bool current) noexcept {
    return {.node = id,
            .publish_only = peer.publish_only,
            .observer = peer.observer,
            .greets = peer.greets,
            .current = current,
            .number = peer.newest_heartbeat,
            .last_sequence = current ? peer.tracker.last_known() : 0,
            .oldest_sequence = peer.oldest,
            .interval = std::chrono::ceil<std::chrono::microseconds>(peer.interval),
            .name = peer.name,
            .zone = peer.zone,
            .place = peer.place};
  }

  NodeId self_;
  bool greets_;
  Duration a_delivery_;  // of one message, the share of a second
  detail::ByteBudget budget_{bytes_a_second, bytes_a_second};
  TimePoint due_ = detail::never;
  TimePoint paid_until_{};  // by the share of deliveries, is what has been sent
  TimePoint again_at_{};    // by that of bytes
  std::uint64_t number_ = 0;                     // of the newest welcome
  std::vector<std::vector<std::byte>> frames_;  // of the one that goes out
  std::vector<NodeId> askers_;                  // to whom; 0: everybody
  std::vector<std::pair<NodeId, std::uint64_t>> strangers_;  // who said hello, and which hello it was
  std::size_t next_ = 0;                        // 1 + which frame to whom is next; 0: none
};

}  // namespace syncbus::inline v1::core
