// A transport of one's own, here to a broker that is a queue and a thread of this process. How to try it: run it; it
// exits with 1 if a node did not hear what another published.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include <syncbus/basic_bus.hpp>

namespace {

/// The broker: every message goes to all its members, in one order, on its one thread.
class Loop {
 public:
  struct Message {
    enum class Kind { broadcast, directed, reopen } kind;
    syncbus::NodeId node;  // that sent it; of a directed one, that it is for
    std::vector<std::byte> bytes;
    syncbus::BroadcastToken token;
  };

  static constexpr std::size_t max_message_bytes = std::size_t{1} << 20U;

  // [readme: loop]
  void join(syncbus::TransportSink& sink, const syncbus::TransportSettings& settings) {
    const std::scoped_lock lock{members_mutex_};
    members_.push_back({settings.self, &sink, settings.publish_only, 1});
    sink.on_ready(1, max_message_bytes);
  }

  void leave(syncbus::NodeId node) noexcept {  // waits for the thread, if it is in a call of the sink
    const std::scoped_lock lock{members_mutex_};
    std::erase_if(members_, [node](const Member& member) { return member.node == node; });
  }
  // [end]

  void put(Message message) {
    const std::scoped_lock lock{queue_mutex_};
    queue_.push_back(std::move(message));
    arrived_.notify_one();
  }

 private:
  struct Member {
    syncbus::NodeId node;
    syncbus::TransportSink* sink;
    bool publish_only;
    std::uint64_t session;
  };

  // [readme: loop]
  void deliver(const Message& message) {  // calls sinks under a lock that neither broadcast nor send nor reopen takes
    const std::scoped_lock lock{members_mutex_};
    const auto member = std::find_if(members_.begin(), members_.end(),
                                     [&](const Member& each) { return each.node == message.node; });
    if (member == members_.end()) return;
    if (message.kind != Message::Kind::directed && message.token.session != member->session) return;
    switch (message.kind) {
      case Message::Kind::broadcast:
        for (const Member& each : members_)
          if (!each.publish_only) each.sink->on_frame(message.bytes);
        return member->sink->on_confirmed(message.token);
      case Message::Kind::directed:
        if (!member->publish_only) member->sink->on_frame(message.bytes);
        return;
      case Message::Kind::reopen:
        member->sink->on_interrupted();
        return member->sink->on_ready(++member->session, max_message_bytes);
    }
  }
  // [end]

  void run(const std::stop_token& stop) {
    for (;;) {
      Message message;
      {
        std::unique_lock lock{queue_mutex_};
        if (!arrived_.wait(lock, stop, [this] { return !queue_.empty(); })) return;
        message = std::move(queue_.front());
        queue_.pop_front();
      }
      deliver(message);
    }
  }

  std::mutex members_mutex_;
  std::vector<Member> members_;
  std::mutex queue_mutex_;
  std::deque<Message> queue_;
  std::condition_variable_any arrived_;
  std::jthread thread_{[this](const std::stop_token& stop) { run(stop); }};  // last: it uses everything above
};

// [readme: transport]
class LoopTransport {
 public:
  static constexpr bool lossless_sessions = true;  // the loop loses nothing while a session lasts

  explicit LoopTransport(Loop& loop) : loop_{loop} {}

  void open(syncbus::TransportSink& sink, const syncbus::TransportSettings& settings) {
    self_ = settings.self;
    loop_.join(sink, settings);
  }
  void broadcast(syncbus::Bytes bytes, syncbus::BroadcastToken token) noexcept {
    loop_.put({Loop::Message::Kind::broadcast, self_, {bytes.begin(), bytes.end()}, token});
  }
  void send(syncbus::NodeId node, syncbus::Bytes bytes) noexcept {
    loop_.put({Loop::Message::Kind::directed, node, {bytes.begin(), bytes.end()}, {}});
  }
  void reopen(std::uint64_t session) noexcept { loop_.put({Loop::Message::Kind::reopen, self_, {}, {session, 0}}); }
  void close() noexcept { loop_.leave(self_); }

 private:
  Loop& loop_;
  syncbus::NodeId self_;
};

static_assert(syncbus::Transport<LoopTransport>);

class LoopBus : public syncbus::BasicBus<LoopTransport> {
 public:
  explicit LoopBus(Loop& loop, syncbus::BusOptions options = {})
      : BasicBus{std::move(options), std::in_place, loop} {}
};

static_assert(syncbus::Bus<LoopBus>);
// [end]

}  // namespace

int main() {
  Loop loop;
  LoopBus a{loop, {.name = "a"}};
  LoopBus b{loop, {.name = "b"}};
  int heard = 0;
  const auto subscription = b.subscribe("user:42", [&](const syncbus::Event&) { ++heard; });
  const auto outcome = a.publish_and_await("user:42", 1);
  std::printf("b heard %d; %zu node acknowledged; a knows %zu peer\n", heard, outcome.replicas.size(), a.peers().size());
  const bool closed = !a.close(std::chrono::seconds{1});
  return heard == 1 && !outcome.error && closed ? 0 : 1;
}
