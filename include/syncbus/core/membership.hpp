// Who is there: a node's own heartbeats, what they say, when they go, and the peers that it hears.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <syncbus/core/actions.hpp>
#include <syncbus/core/heartbeat_frame.hpp>
#include <syncbus/core/heartbeat_schedule.hpp>
#include <syncbus/core/own_heartbeats.hpp>
#include <syncbus/core/peer_state.hpp>
#include <syncbus/core/peer_table.hpp>
#include <syncbus/detail/split_mix64.hpp>
#include <syncbus/event.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::core {

/// A session begins with a hello, which asks everybody for a heartbeat. The *join window* is open from then until the
/// hello has come back and the answers had time to; a stranger met later opens it again for a while. What is found to
/// be lost in it is one loss, not one for each peer.
class Membership {
 public:
  explicit Membership(const ProtocolOptions& options)
      : self_{options.self},
        name_{options.name},
        zone_{options.zone},
        publish_only_{options.publish_only},
        peer_timeout_{options.peer_timeout},
        schedule_{options.heartbeat, options.control_rate},
        own_{options.connect_timeout / 2},  // the other half is for the hello to come back
        random_{options.self.value},
        peers_{options.max_peers, options.hash_secret} {}

  [[nodiscard]] PeerTable& peers() noexcept { return peers_; }
  [[nodiscard]] const PeerTable& peers() const noexcept { return peers_; }
  [[nodiscard]] const OwnHeartbeats& own() const noexcept { return own_; }
  [[nodiscard]] std::string_view zone() const noexcept { return zone_; }

  /// After an interruption, which may be everybody's, the hellos of a large cluster are spread over the time that its
  /// control rate gives them.
  void begin_session(TimePoint now) noexcept {
    own_.begin_session(now);
    told_moved_ = false;
    schedule_.begin_session(now +
                            (own_.sent_ever() ? random_delay(schedule_.hello_spread(peers_.nodes())) : Duration{}));
    answers_.clear();
    window_open_ = !publish_only_;
    window_ends_ = (TimePoint::max)();
  }

  /// The next session is on another broker: whoever is there is told by our first heartbeats.
  void moved() noexcept { moved_ = true; }

  // --- the join window

  [[nodiscard]] bool window_open() const noexcept { return window_open_; }
  [[nodiscard]] TimePoint window_ends() const noexcept { return window_open_ ? window_ends_ : (TimePoint::max)(); }

  /// A stranger was met: others may follow.
  void reopen_window(TimePoint now) noexcept {
    if (!window_open_) window_ends_ = now + own_.answer_time();
    window_open_ = true;
  }
  /// Whether it closes now.
  [[nodiscard]] bool close_window(TimePoint now) noexcept {
    if (!window_open_ || now < window_ends_) return false;
    window_open_ = false;
    return true;
  }

  // --- heartbeats out

  void frame_sent(TimePoint now) noexcept { schedule_.restart(now); }
  void stranger_met(TimePoint now) noexcept { schedule_.hasten(now); }

  /// A peer asks for a heartbeat.
  void asked(NodeId by, TimePoint now) {
    if (schedule_.may_answer(now, peers_.nodes())) {
      answers_.push_back(by);
    } else {
      schedule_.hasten(now);
    }
  }

  [[nodiscard]] TimePoint heartbeat_due() const noexcept { return schedule_.due(); }

  /// Whether the session is to begin with a hello now: peers are to know of it before its first frame.
  [[nodiscard]] bool hello_due(TimePoint now) const noexcept {
    return !publish_only_ && !own_.sent_in_session() && now >= schedule_.due();
  }

  /// Whose question is to be answered alone, if anybody's.
  [[nodiscard]] std::optional<NodeId> next_answer() {
    if (answers_.empty()) return std::nullopt;
    const NodeId node = answers_.back();
    answers_.pop_back();
    return node;
  }

  /// Writes a heartbeat; to everybody (0) it has a number of its own, and is expected back. Returns its size.
  [[nodiscard]] std::size_t write_heartbeat(std::span<std::byte> out, NodeId destination, bool goodbye,
                                            const PublishedExtent& published, TimePoint now) {
    if (destination == NodeId{}) {
      number_ = publish_only_ ? number_ + 1 : own_.send(now);
      interval_ = schedule_.sent(now, peers_.nodes());
    }
    // Who receives nothing cannot know that it was heard, but that the session has gone on since.
    moved_ = moved_ && !(publish_only_ && told_moved_);
    told_moved_ = moved_;
    const HeartbeatView heartbeat{
        .answer_me = destination == NodeId{} && !goodbye && !publish_only_ && !own_.returned_in_session(),
        .goodbye = goodbye,
        .publish_only = publish_only_,
        .moved = moved_,
        .number = number_,
        .last_sequence = published.last,
        .ahead = published.ahead,
        .oldest_sequence = published.oldest,
        .interval = std::chrono::ceil<std::chrono::microseconds>(interval_),
        .name = name_,
        .zone = zone_,
        .newest_origin = newest_origin_,
        .newest_number = newest_number_};
    return encode_heartbeat(out, self_, destination, heartbeat);
  }

  // --- heartbeats in

  /// One of our own came back.
  void returned(std::uint64_t number, TimePoint now) noexcept {
    own_.returned(number, now);
    moved_ = moved_ && !own_.returned_in_session();
    note_newest(self_, number);
    if (window_open_ && window_ends_ == (TimePoint::max)() && own_.returned_in_session()) {
      window_ends_ = now + own_.answer_time();
    }
  }

  /// A peer's came, as a broadcast: a place in the order that all receivers have in common.
  void received(NodeId origin, PeerState& peer, std::uint64_t number) noexcept {
    peer.positions.received(number, own_.newest_returned());
    note_newest(origin, number);
  }

  /// What a peer's heartbeat proves that names (`origin`, `number`) as the newest it had received: everything that it
  /// published before the result had a sequence by then.
  [[nodiscard]] std::optional<TimePoint> proved_by(NodeId origin, std::uint64_t number) const noexcept {
    if (origin == self_) return own_.sent_at((std::min)(number, own_.newest_returned()));
    const PeerState* const named = peers_.find(origin);
    return named == nullptr ? std::nullopt : own_.sent_at(named->positions.own_before(number));
  }

  // --- silence

  /// Who has not been heard, or is not known to be fresh, for so long is so for a reason.
  [[nodiscard]] Duration patience() const noexcept { return (std::max)(peer_timeout_, 4 * interval_); }

  /// Whether a heartbeat of ours is overdue to come back: then it is we who are cut off.
  [[nodiscard]] bool deaf(TimePoint now) const noexcept { return now >= deaf_at(); }
  [[nodiscard]] TimePoint deaf_at() const noexcept {
    const auto since = own_.unanswered_since();
    return since && !publish_only_ ? *since + peer_timeout_ : (TimePoint::max)();
  }

  /// One that was met by a frame has announced no heartbeat: it has those of a node in a cluster of this size.
  [[nodiscard]] bool silent(const PeerState& peer) const noexcept {
    const Duration interval = peer.newest_heartbeat != 0 ? peer.interval : schedule_.interval(peers_.nodes());
    return is_silent(peer, (std::max)(peer_timeout_, 4 * interval), own_.hears_since(), own_.heard_until());
  }

  /// Random, from 0 to `most`.
  [[nodiscard]] Duration random_delay(Duration most) noexcept {
    return Duration{static_cast<Duration::rep>(random_.next() % static_cast<std::uint64_t>(most.count() + 1))};
  }

 private:
  void note_newest(NodeId origin, std::uint64_t number) noexcept {
    newest_origin_ = origin;
    newest_number_ = number;
  }

  NodeId self_;
  std::string name_;
  std::string zone_;
  bool publish_only_;
  Duration peer_timeout_;
  HeartbeatSchedule schedule_;
  OwnHeartbeats own_;
  detail::SplitMix64 random_;
  PeerTable peers_;
  std::vector<NodeId> answers_;  // whose hello is to be answered; short, since only the control rate lets one in
  std::uint64_t number_ = 0;     // of the newest heartbeat sent
  Duration interval_{};          // that it announced
  NodeId newest_origin_{};       // the newest heartbeat received, in our receive order
  std::uint64_t newest_number_ = 0;
  bool moved_ = false;           // and not everybody who is there was told of it
  bool told_moved_ = false;      // in this session
  bool window_open_ = false;
  TimePoint window_ends_{};
};

}  // namespace syncbus::inline v1::core
