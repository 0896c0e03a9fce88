// The membership of a channel: the peers, their silence and goodbyes, and this node's own heartbeats.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/base/split_mix64.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/core/actions.hpp>
#include <syncbus/core/peers/echo_monitor.hpp>
#include <syncbus/core/peers/greeter.hpp>
#include <syncbus/core/peers/heartbeat_schedule.hpp>
#include <syncbus/core/peers/joining.hpp>
#include <syncbus/core/peers/left_out.hpp>
#include <syncbus/core/peers/namesake.hpp>
#include <syncbus/core/peers/peer_state.hpp>
#include <syncbus/core/peers/peer_table.hpp>
#include <syncbus/core/peers/places.hpp>
#include <syncbus/core/wire/heartbeat_frame.hpp>
#include <syncbus/core/wire/welcome_frame.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// A first session begins with a hello, which one peer answers with a welcome that names everybody: see Joining and
/// Greeter. Later ones begin with a heartbeat that asks everybody for one, for those who are there know each other.
///
/// The *join window* is open from the beginning of a session until the hello has come back and the welcome has come, or
/// the answers had time to; a stranger met later opens it again for a while. What is found to be lost in it is one
/// loss, not one for each peer.
class Membership {
 public:
  explicit Membership(const ProtocolOptions& options)
      : self_{options.self},
        name_{options.name},
        zone_{options.zone},
        publish_only_{options.publish_only},
        observer_{options.observer},
        peer_timeout_{options.peer_timeout},
        schedule_{options.heartbeat, options.control_rate},
        joins_within_{options.connect_timeout / 2},  // the other half is for the hello to come back
        own_{joins_within_},
        joining_{!options.publish_only},
        greeter_{options.self, !options.publish_only && !options.observer, schedule_.welcome_rate()},
        random_{options.self.value},
        peers_{options.max_peers, options.hash_secret},
        left_out_{options.peer_timeout, options.lossless_sessions} {}

  [[nodiscard]] PeerTable& peers() noexcept { return peers_; }
  [[nodiscard]] const PeerTable& peers() const noexcept { return peers_; }
  [[nodiscard]] LeftOut& left_out() noexcept { return left_out_; }
  [[nodiscard]] const LeftOut& left_out() const noexcept { return left_out_; }
  [[nodiscard]] const EchoMonitor& own() const noexcept { return own_; }
  [[nodiscard]] std::string_view zone() const noexcept { return zone_; }
  [[nodiscard]] Places& places() noexcept { return places_; }

  /// Whether a peer is where we are, so that neither loses anything of the other in its session.
  [[nodiscard]] bool is_here(const PeerState& peer) const noexcept { return places_.is_here(peer.place); }

  /// For people: the nodes that are there. A peer that has been silent for ten peer timeouts is taken for dead.
  [[nodiscard]] std::vector<Peer> list(TimePoint now) const { return peers_.list(now, 10 * peer_timeout_); }

  /// After an interruption, which may be everybody's, the hellos of a large cluster are spread over the time that its
  /// control rate gives them.
  void begin_session(TimePoint now) noexcept {
    own_.begin_session(now);
    told_moved_ = false;
    places_.begin_session();
    schedule_.begin_session(now + (joining_.joined() ? slot(schedule_.hello_spread(peers_.nodes())) : Duration{}));
    answers_.clear();
    joining_.begin_session();
    greeter_.begin_session();
    window_open_ = !publish_only_;
    window_ends_ = sure_at_ = detail::never;
    welcomed_in_session_ = false;
    hello_number_ = number_ + 1;
  }

  /// The next session is on another broker: our first heartbeats tell the nodes there.
  void moved() noexcept { moved_ = true; }

  // --- the join window

  [[nodiscard]] bool window_open() const noexcept { return window_open_; }
  [[nodiscard]] TimePoint window_ends() const noexcept { return window_open_ ? window_ends_ : detail::never; }

  /// A stranger was met: others may follow.
  void reopen_window(TimePoint now) noexcept {
    if (!window_open_) window_ends_ = now + own_.answer_time();
    window_open_ = true;
  }
  /// A node that takes itself for the first, since nobody has answered, is not sure of it at once: on a busy machine
  /// answers come late. Until it is, nothing is decided that needs everybody.
  [[nodiscard]] bool sure_who_is_there() const noexcept { return sure_at_ == detail::never; }
  [[nodiscard]] TimePoint sure_at() const noexcept { return sure_at_; }
  /// Whether it is sure from now on.
  [[nodiscard]] bool becomes_sure(TimePoint now) noexcept {
    if (now < sure_at_) return false;
    sure_at_ = detail::never;
    return true;
  }
  /// Whether it closes now.
  [[nodiscard]] bool close_window(TimePoint now) noexcept {
    if (!window_open_ || now < window_ends_) return false;
    if (!joining_.joined() && go_on_joining(now)) return false;
    window_open_ = false;
    joining_.forget_frames();
    return true;
  }

  // --- hellos and welcomes

  /// A peer said hello, for the `hello`-th time; 0: its broadcast was no hello.
  void greeted(PeerState& peer, std::uint64_t hello, TimePoint now) noexcept {
    if (hello == 0) {
      peer.joins_until = (TimePoint::min)();
      return;
    }
    if (peer.greets && peer.hello == 0) joining_.other_hello(hello);
    greeter_.asked(peer, hello, now);
    if (joining_.joined()) keep_pace();
  }

  /// A welcome of `by` says this about a peer.
  void told_of(PeerState& peer, const WelcomeEntry& entry, NodeId by, bool to_all) {
    peer.wants_welcome = false;  // whoever names it answers it, too
    if (to_all) peer.joins_until = (TimePoint::min)();
    if (entry.current) peer.told_by = by;
    if (entry.current) peer.told_last = entry.last_sequence;
    if (entry.number == 0) return;
    static_cast<void>(peer.introduce({.publish_only = entry.publish_only,
                                      .observer = entry.observer,
                                      .greets = entry.greets,
                                      .number = entry.number,
                                      .oldest_sequence = entry.oldest_sequence,
                                      .place = entry.place,
                                      .interval = entry.interval,
                                      .name = entry.name,
                                      .zone = entry.zone}));
  }

  /// A frame of a welcome has been taken in. A whole welcome for us was written when its sender had heard our hello:
  /// events up to the sequences that it tells are not owed to us, unless somebody listens here already, and then
  /// `session` is 0. Each of several welcomes counts: two peers may answer that have not heard of each other. A welcome
  /// for others may be older than our session: it tells which nodes are there, but not how far they are.
  void welcomed(NodeId from, const WelcomeView& frame, bool names_us, std::uint64_t session, TimePoint now) {
    const bool joins = !joining_.joined() && window_open_;
    if ((!joins && session == 0) || !joining_.has_whole(from, frame, names_us)) return;
    if (joins) joined(now);
    peers_.for_each([&](NodeId, PeerState& peer) {
      if (session == 0 || peer.reconciled_in != 0 || peer.told_by != from) return;
      peer.tracker = SequenceTracker{(std::max)(peer.told_last, peer.tracker.last_known())};
      peer.reconciled_in = session;
      peer.only_told_of = false;
    });
    if (joins && own_.returned_in_session()) window_ends_ = now;
  }

  [[nodiscard]] TimePoint welcome_due() const noexcept {
    return window_open_ ? detail::never : greeter_.due();
  }
  /// The next frame of a welcome that is due, into `out`.
  [[nodiscard]] std::optional<Greeter::Welcome> next_welcome(std::span<std::byte> out, const PublishedExtent& published,
                                                             std::uint64_t session, TimePoint now) {
    if (now < welcome_due()) return std::nullopt;
    const WelcomeEntry own{.node = self_,
                           .publish_only = publish_only_,
                           .observer = observer_,
                           .greets = true,
                           .number = number_,
                           .last_sequence = published.last,
                           .oldest_sequence = published.oldest,
                           .interval = std::chrono::ceil<std::chrono::microseconds>(interval_),
                           .name = name_,
                           .zone = zone_,
                           .place = places_.here()};
    return greeter_.next(out, own, peers_, left_out_.any(), session, now);
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

  /// A node that joins says its hello, and no more before it knows how many there are.
  [[nodiscard]] TimePoint heartbeat_due() const noexcept {
    const bool waits = !joining_.joined() && own_.returned_in_session() && number_ >= hello_number_;
    return waits ? detail::never : schedule_.due();
  }

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
      interval_ = schedule_.sent(now, paced_for_ = peers_.nodes());
      if (joining_.joined()) slots_from_.reset();
    }
    // A node that receives nothing cannot know that it was heard, only that the session has gone on since.
    moved_ = moved_ && !(publish_only_ && told_moved_);
    told_moved_ = moved_;
    const HeartbeatView heartbeat{
        .answer_me = destination == NodeId{} && !goodbye && !publish_only_ &&
                     (!joining_.joined() || !own_.returned_in_session()),
        .goodbye = goodbye,
        .publish_only = publish_only_,
        .moved = moved_,
        .observer = observer_,
        .greets = !publish_only_ && !observer_,
        .doubled = namesake_.there(),
        .number = number_,
        .last_sequence = published.last,
        .ahead = published.ahead,
        .oldest_sequence = published.oldest,
        .hello = destination == NodeId{} && !goodbye ? joining_.attempt() : 0,
        .place = places_.here(),
        .interval = std::chrono::ceil<std::chrono::microseconds>(interval_),
        .name = name_,
        .zone = zone_,
        .newest_origin = newest_origin_,
        .newest_number = newest_number_};
    const std::size_t size = encode_heartbeat(out, self_, destination, heartbeat);
    if (size != 0 && destination == NodeId{}) own_.sealed(checksum_in(out.first(size)));
    return size;
  }

  // --- heartbeats in

  /// One of our own came back.
  void returned(std::uint64_t number, TimePoint now) noexcept {
    own_.returned(number, now);
    moved_ = moved_ && !own_.returned_in_session();
    note_newest(self_, number);
    if (!own_.returned_in_session()) return;
    if (number >= hello_number_) joining_.hello_returned();
    if (!window_open_ || window_ends_ != detail::never) return;
    if (!joining_.joined()) {
      joins_by_ = now + joins_within_;
      window_ends_ = now + hello_window() / 2;
    } else {
      window_ends_ = welcomed_in_session_ ? now : now + own_.answer_time();
    }
  }

  /// A peer's says who and where it is. `in_order`: see PeerState::introduce.
  void introduced(PeerState& peer, const HeartbeatView& heartbeat, bool in_order, TimePoint now) {
    places_.told(heartbeat.place);
    peers_.change(peer, [&](PeerState& changed) { changed.introduce(heartbeat, in_order, now); });
  }

  /// A peer's came, as a broadcast: a place in the order that all receivers have in common.
  void received(NodeId origin, PeerState& peer, std::uint64_t number) noexcept {
    peer.positions.received(number, own_.newest_returned());
    note_newest(origin, number);
  }

  /// What a peer's heartbeat proves if it names (`origin`, `number`) as the newest that the peer had received: all that
  /// the peer published before the returned time has a sequence that the heartbeat tells.
  [[nodiscard]] std::optional<TimePoint> proved_by(NodeId origin, std::uint64_t number) const noexcept {
    if (origin == self_) return own_.sent_at((std::min)(number, own_.newest_returned()));
    const PeerState* const named = peers_.find(origin);
    return named == nullptr ? std::nullopt : own_.sent_at(named->positions.own_before(number));
  }

  // --- silence

  /// A peer that was not heard for so long, or not proved fresh, is in trouble: its heartbeats come more often.
  [[nodiscard]] Duration patience() const noexcept { return (std::max)(peer_timeout_, 4 * interval_); }

  /// So long after the first word from after an outage, or the first silence that is noticed, all others have followed:
  /// each heartbeat goes at a time of its own.
  [[nodiscard]] Duration settling_time() const noexcept { return 2 * schedule_.interval(peers_.nodes()); }

  /// Whether one of our heartbeats is overdue to come back: then we are cut off.
  [[nodiscard]] bool deaf(TimePoint now) const noexcept { return now >= deaf_at(); }
  [[nodiscard]] TimePoint deaf_at() const noexcept {
    const auto since = own_.unanswered_since();
    return since && !publish_only_ ? *since + peer_timeout_ : detail::never;
  }

  /// A peer that was met by a frame has announced no interval, and one that said hello did not know how many nodes
  /// there are: for both the interval of a node in a cluster of this size counts.
  [[nodiscard]] bool silent(const PeerState& peer) const noexcept {
    const bool known = peer.newest_heartbeat != 0;
    const std::size_t nodes = peers_.nodes();
    const Duration told = (std::min)(peer.interval, schedule_.longest_believed(nodes));
    const Duration interval = known ? (std::max)(told, schedule_.usual(nodes)) : schedule_.interval(nodes);
    return is_silent(peer, (std::max)(peer_timeout_, 4 * interval), own_.hears_since(), own_.heard_until());
  }

  /// Whether somebody was heard who may be there and is not remembered.
  [[nodiscard]] bool may_be_others() const noexcept { return peers_.forgot() || left_out_.ever(); }
  /// Whether a stranger may be one that was heard before, and is not remembered.
  [[nodiscard]] bool may_have_heard_strangers() const noexcept { return peers_.forgot_any() || left_out_.ever(); }

  /// There is no room for one that was heard: see LeftOut.
  void leave_out(LeftOut::Why why, TimePoint now, std::optional<TimePoint> listening_since,
                 std::uint64_t session) noexcept {
    left_out_.heard(why, now, listening_since, session, peers_.forgot_any());
  }
  /// A heartbeat of one for whom there is no room.
  void left_out_said(NodeId origin, const HeartbeatView& heartbeat, LeftOut::Why why, bool listening, TimePoint now) {
    left_out_.said(heartbeat, why, listening, now);
    if (heartbeat.answer_me && heartbeat.hello == 0 && origin != self_) asked(origin, now);
    if (heartbeat.hello != 0 && origin != self_) greeter_.asked_by_stranger(origin, heartbeat.hello, now);
  }
  /// Whether all of them have been silent for so long now that nobody is left out.
  [[nodiscard]] bool left_out_end(bool listening, TimePoint now) noexcept {
    const Duration interval = schedule_.interval(peers_.nodes());
    const bool alone = namesake_.end((std::max)(peer_timeout_, 4 * interval), own_.heard_until());
    return left_out_.end(interval, own_.hears_since(), own_.heard_until(), listening, now) || alone;
  }

  // --- nodes with one id

  [[nodiscard]] const Namesake& namesake() const noexcept { return namesake_; }
  /// A frame came in our name that is none of ours.
  void namesake_heard(TimePoint now) noexcept {
    if (!namesake_.heard(now)) return;
    doubled_news_ = NodeId{};
    schedule_.hasten(now);  // others are to know
  }
  /// A peer's heartbeat says that two have its id.
  void doubled(NodeId peer) noexcept { doubled_news_ = peer; }
  /// The id of whom there are two, 0: ours, if nobody was told of it since the last call.
  [[nodiscard]] std::optional<NodeId> doubled_news() noexcept { return std::exchange(doubled_news_, std::nullopt); }

  /// Random, from 0 to `most`.
  [[nodiscard]] Duration random_delay(Duration most) noexcept {
    return Duration{static_cast<Duration::rep>(random_.next() % static_cast<std::uint64_t>(most.count() + 1))};
  }

 private:
  /// The window of a node that joins has ended: returns whether it stays open.
  [[nodiscard]] bool go_on_joining(TimePoint now) noexcept {
    const Duration window = hello_window();
    const auto next = now < joins_by_ ? joining_.window_over(others_have_joined(now)) : Joining::Next::first;
    if (next == Joining::Next::first) {
      joined(now);
      sure_at_ = now + 2 * (own_.answer_time() - window);
      return false;
    }
    if (next == Joining::Next::hello) {
      hello_number_ = number_ + 1;
      schedule_.say(now);
    }
    const Duration wait = next == Joining::Next::half   ? window / 2
                          : next == Joining::Next::rest ? joining_.rest(window, random_.next())
                                                        : window;
    window_ends_ = (std::min)(now + wait, joins_by_);
    return true;
  }

  [[nodiscard]] Duration hello_window() const noexcept { return own_.four_round_trips(Joining::least_window); }

  [[nodiscard]] bool others_have_joined(TimePoint now) const noexcept {
    bool any = false;
    peers_.for_each([&](NodeId, const PeerState& peer) {
      any = any || (peer.greets && peer.live() && peer.newest_heartbeat != 0 && now >= peer.joins_until);
    });
    return any;
  }

  void joined(TimePoint now) noexcept {
    joining_.join();
    welcomed_in_session_ = true;
    slots_from_ = now;
    take_slot();
  }

  /// Sets when this node's first heartbeat goes after its hello: not at once, for the hellos are enough for a while.
  void take_slot() noexcept {
    const Duration spread = schedule_.hello_spread(paced_for_ = peers_.nodes());
    schedule_.joined(*slots_from_, (std::min)(spread, Duration{std::chrono::seconds{1}}) + slot(spread));
  }

  /// Slows down if there are more nodes now than when the time of the next heartbeat was set: a cold start lasts a
  /// while, and a node that joins early knows few others. All heartbeats together grow by the square of the number of
  /// nodes.
  void keep_pace() noexcept {
    if (32 * peers_.nodes() < 33 * paced_for_) return;
    if (slots_from_) return take_slot();
    schedule_.slow_down(paced_for_ = peers_.nodes());
  }

  /// This node's part of a time in which all say something, each at a time of its own: by the order of their ids, which
  /// all know.
  [[nodiscard]] Duration slot(Duration spread) const noexcept {
    Duration::rep before = 0;
    peers_.for_each([&](NodeId id, const PeerState& peer) { before += peer.live() && id < self_ ? 1 : 0; });
    return spread * before / static_cast<Duration::rep>(peers_.nodes());
  }

  void note_newest(NodeId origin, std::uint64_t number) noexcept {
    newest_origin_ = origin;
    newest_number_ = number;
  }

  NodeId self_;
  std::string name_;
  std::string zone_;
  bool publish_only_;
  bool observer_;
  Duration peer_timeout_;
  HeartbeatSchedule schedule_;
  Duration joins_within_;  // of when its hello came back
  EchoMonitor own_;
  Joining joining_;
  std::optional<TimePoint> slots_from_;  // until its first heartbeat after it has joined: when that was
  std::size_t paced_for_ = 1;  // nodes, is the time of the next heartbeat
  Greeter greeter_;
  detail::SplitMix64 random_;
  PeerTable peers_;
  LeftOut left_out_;
  Namesake namesake_;
  std::optional<NodeId> doubled_news_;
  Places places_;
  std::vector<NodeId> answers_;  // whose hello is to be answered; short, since only the control rate lets one in
  std::uint64_t number_ = 0;     // of the newest heartbeat sent
  Duration interval_{};          // that it announced
  NodeId newest_origin_{};       // the newest heartbeat received, in our receive order
  std::uint64_t newest_number_ = 0;
  bool moved_ = false;           // and not everybody who is there was told of it
  bool told_moved_ = false;      // in this session
  bool window_open_ = false;
  TimePoint window_ends_{};
  TimePoint joins_by_{};
  TimePoint sure_at_ = detail::never;  // that it is the first; the end of time: it is sure
  bool welcomed_in_session_ = false;
  std::uint64_t hello_number_ = 0;  // of the first heartbeat that is this attempt's hello
};

}  // namespace syncbus::inline v1::core
