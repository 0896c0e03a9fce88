// How joining, staleness and control traffic grow with the number of nodes: the machines alone, in virtual time, on a
// channel with a delay of 1 ms, nothing published. All nodes begin within 15 ms; when they have been quiet for a while
// the broker restarts under them, and all are back a second later, at one moment.
// How to try it: build the target cluster_bench in release and run it, with the largest number of nodes if not 300, and
// the control rate if not the default.
// It prints a table (CSV) and then the same as bars, on a logarithmic scale.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <syncbus/core/protocol.hpp>
#include <syncbus/core/wire/codec.hpp>
#include <syncbus/event.hpp>
#include <syncbus/options.hpp>

namespace {

using namespace std::chrono_literals;
using syncbus::Duration, syncbus::NodeId, syncbus::TimePoint;
namespace core = syncbus::core;

constexpr Duration delay = 1ms;
constexpr TimePoint beginning{1h};

double in_milliseconds(Duration duration) { return std::chrono::duration<double, std::milli>(duration).count(); }

/// What was delivered in each second, besides the first message of each node, which is its hello.
struct Seconds {
  TimePoint since = beginning;
  std::vector<std::size_t> deliveries{};
  std::size_t hellos = 0;

  void count(std::size_t copies, bool hello, TimePoint now) {
    if (hello) {
      hellos += copies;
      return;
    }
    const auto second = static_cast<std::size_t>((now - since) / 1s);
    if (deliveries.size() <= second) deliveries.resize(second + 1);
    deliveries[second] += copies;
  }
  [[nodiscard]] std::size_t first() const { return deliveries.empty() ? 0 : deliveries.front(); }
  [[nodiscard]] std::size_t busiest(std::size_t from) const {
    std::size_t most = 0;
    for (std::size_t second = from; second < deliveries.size(); ++second) most = (std::max)(most, deliveries[second]);
    return most;
  }
};

/// One node, and all that its shell does.
struct Member {
  explicit Member(const core::ProtocolOptions& options) : id{options.self}, machine{options} {}

  NodeId id;
  core::Protocol machine;
  bool connected = false;
  bool said_hello = false;
  std::uint64_t session = 0;
  TimePoint ready_at{};
  TimePoint wake = (TimePoint::max)();
  Duration took{-1};  ///< from the beginning of its session until it had joined
};

/// What one sends all get, itself included, a delay later, in one order.
class Channel {
 public:
  explicit Channel(std::size_t control_rate) : control_rate_{control_rate} {}

  Seconds seconds;
  std::size_t resyncs = 0;

  [[nodiscard]] TimePoint now() const { return now_; }
  [[nodiscard]] std::vector<std::unique_ptr<Member>>& members() { return members_; }

  void add(std::size_t id, std::size_t count) {
    core::ProtocolOptions options{.self = NodeId{id}, .zone = "zone", .control_rate = control_rate_};
    options.name = "node-" + std::to_string(id);
    options.history_bytes = options.queue_bytes = options.pending_bytes = std::size_t{16} << 10U;
    options.max_peers = 2 * count;
    options.max_awaits = 16;
    members_.push_back(std::make_unique<Member>(options));
    connect(*members_.back());
  }

  void connect(Member& member) {
    member.connected = true;
    member.ready_at = now_;
    member.took = Duration{-1};
    ++member.session;
    member.machine.on_ready(member.session, std::size_t{1} << 20U, member.session > 1, now_);
    act(member);
  }
  void interrupt(Member& member) {
    member.connected = false;
    member.machine.on_interrupted(now_);
    act(member);
  }

  void pass(Duration time) {
    const TimePoint until = now_ + time;
    while (true) {
      const TimePoint message = messages_.empty() ? (TimePoint::max)() : messages_.front().at;
      const TimePoint wake = wakes_.empty() ? (TimePoint::max)() : wakes_.begin()->first;
      if ((std::min)(message, wake) > until) break;
      now_ = (std::max)(now_, (std::min)(message, wake));
      message <= wake ? deliver() : wake_up();
    }
    now_ = until;
  }

  /// How long the last one took to join; negative: not all have.
  [[nodiscard]] Duration joined() const {
    Duration last{};
    for (const auto& member : members_) {
      if (member->took < Duration{}) return member->took;
      last = (std::max)(last, member->took);
    }
    return last;
  }

 private:
  struct Message {
    TimePoint at;
    Member* from;
    NodeId destination;
    bool hello;
    std::vector<std::byte> bytes;
  };

  void deliver() {
    const Message message = std::move(messages_.front());
    messages_.pop_front();
    std::size_t copies = 0;
    for (const auto& member : members_) {
      const bool all = message.destination == NodeId{};
      if (!member->connected || (!all && member->id != message.destination)) continue;
      ++copies;
      member->machine.on_frame(message.bytes, member->took >= Duration{}, now_);
      act(*member);
    }
    seconds.count(copies, message.hello, now_);
  }

  void wake_up() {
    Member& member = *wakes_.begin()->second;
    wakes_.erase(wakes_.begin());
    member.wake = (TimePoint::max)();
    member.machine.tick(now_);
    act(member);
  }

  void act(Member& member) {
    for (core::Action action = member.machine.next_action(now_); action.kind != core::Action::Kind::none;
         action = member.machine.next_action(now_)) {
      switch (action.kind) {
        case core::Action::Kind::broadcast:
        case core::Action::Kind::send: post(member, action); break;
        case core::Action::Kind::dispatch: dispatch(member); break;
        case core::Action::Kind::wake: wake_at(member, (std::max)(action.at, now_)); break;
        default: break;
      }
    }
    if (member.took < Duration{} && member.machine.joined()) member.took = now_ - member.ready_at;
  }

  void post(Member& member, const core::Action& action) {
    if (!member.connected) return;
    messages_.push_back({now_ + delay, &member, action.destination, !std::exchange(member.said_hello, true),
                         {action.bytes.begin(), action.bytes.end()}});
  }

  void dispatch(Member& member) {
    for (core::ReceiveQueue::Item item; member.machine.take(item); member.machine.release({}, now_)) {
      resyncs += item.kind == core::ReceiveQueue::Item::Kind::resync ? 1U : 0U;
    }
  }

  void wake_at(Member& member, TimePoint at) {
    wakes_.erase({member.wake, &member});
    member.wake = at;
    wakes_.insert({at, &member});
  }

  std::size_t control_rate_;
  TimePoint now_ = beginning;
  std::vector<std::unique_ptr<Member>> members_;
  std::deque<Message> messages_;
  std::set<std::pair<TimePoint, Member*>> wakes_;
};

struct Row {
  std::size_t nodes = 0;
  double joined = 0;   ///< milliseconds until the last had
  double known = 0;    ///< percent of all pairs then
  std::size_t hellos = 0, first_second = 0, busiest_later = 0;  ///< deliveries
  double interval = 0, staleness = 0;                           ///< milliseconds, in the steady state
  double back = 0;     ///< milliseconds until the last had joined again, behind a restart of the broker
  std::size_t busiest_after = 0;
  std::size_t resyncs = 0;
};

/// The worst of a few nodes, over two intervals.
double staleness_of(Channel& channel, Duration interval) {
  Duration worst{};
  const std::size_t stride = (channel.members().size() + 15) / 16;
  for (int i = 0; i != 80; ++i) {
    channel.pass((std::max)(2 * interval, Duration{8s}) / 80);
    for (std::size_t at = 0; at < channel.members().size(); at += stride) {
      worst = (std::max)(worst, channel.members()[at]->machine.health(channel.now()).staleness);
    }
  }
  return in_milliseconds(worst);
}

double until_joined(Channel& channel, Duration most) {
  const TimePoint end = channel.now() + most;
  while (channel.joined() < Duration{} && channel.now() < end) channel.pass(100ms);
  return in_milliseconds(channel.joined());
}

Row measure(std::size_t count, std::size_t control_rate) {
  Row row{.nodes = count};
  const double square = static_cast<double>(count) * static_cast<double>(count);
  row.interval = (std::max)(1'000.0, 1'000.0 * square / (0.9 * static_cast<double>(control_rate)));
  const auto interval = std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>{row.interval});

  Channel channel{control_rate};
  for (std::size_t i = 0; i != count; ++i) {
    channel.add(1 + (i * 7'919) % count, count);
    channel.pass(Duration{15ms} / static_cast<Duration::rep>(count));
  }
  row.joined = until_joined(channel, 10s);
  std::size_t known = 0;
  for (const auto& member : channel.members()) known += member->machine.peers(channel.now()).size();
  row.known = count == 1 ? 100 : 100 * static_cast<double>(known) / (square - static_cast<double>(count));
  channel.pass(10s + 3 * interval);
  row.hellos = channel.seconds.hellos;
  row.first_second = channel.seconds.first();
  row.busiest_later = channel.seconds.busiest(1);
  row.staleness = staleness_of(channel, interval);

  for (const auto& member : channel.members()) channel.interrupt(*member);
  channel.pass(1s);
  channel.seconds = {.since = channel.now()};
  for (const auto& member : channel.members()) channel.connect(*member);
  row.back = until_joined(channel, 10s + 2 * interval);
  channel.pass(10s + interval);
  row.busiest_after = channel.seconds.busiest(0);
  row.resyncs = channel.resyncs;
  return row;
}

void print(const Row& row) {
  std::printf("%zu,%.1f,%.1f,%zu,%zu,%zu,%.0f,%.0f,%.1f,%zu,%zu\n", row.nodes, row.joined, row.known, row.hellos,
              row.first_second, row.busiest_later, row.interval, row.staleness, row.back, row.busiest_after,
              row.resyncs);
  std::fflush(stdout);
}

template <class Value>
void plot(const char* what, const std::vector<Row>& rows, Value Row::* value) {
  std::printf("\n%s\n", what);
  for (const Row& row : rows) {
    const auto number = static_cast<double>(row.*value);
    const int length = number < 1 ? 0 : 1 + static_cast<int>(std::lround(10 * std::log10(number)));
    std::printf("%6zu %s %.0f\n", row.nodes, std::string(static_cast<std::size_t>(length), '#').c_str(), number);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t most = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 300;
  const std::size_t control_rate =
      argc > 2 ? std::strtoul(argv[2], nullptr, 10) : core::ProtocolOptions{}.control_rate;
  std::puts("nodes,joined_ms,known_percent,hello_deliveries,deliveries_first_second,deliveries_busiest_later_second,"
            "interval_ms,staleness_ms,joined_after_restart_ms,deliveries_busiest_second_after_restart,resyncs");
  std::vector<Row> rows;
  for (const std::size_t count : {1U, 2U, 3U, 5U, 10U, 20U, 50U, 100U, 200U, 300U, 500U, 1'000U}) {
    if (count > most) break;
    rows.push_back(measure(count, control_rate));
    print(rows.back());
  }
  std::puts("\nThe same as bars: ten characters are a factor of ten.");
  plot("the last has joined, ms", rows, &Row::joined);
  plot("control deliveries in the first second, but hellos", rows, &Row::first_second);
  plot("control deliveries in the busiest later second", rows, &Row::busiest_later);
  plot("staleness in the steady state, at most, ms", rows, &Row::staleness);
  plot("control deliveries in the busiest second after a restart of the broker", rows, &Row::busiest_after);
}
