// What the rules of Transport say, of every transport, on real brokers that behave.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "contract/fixtures/fixtures.hpp"
#include "contract/transport/transport_node.hpp"
#include "support/catch.hpp"
#include "support/process_limits.hpp"

using namespace contract;
using namespace std::chrono_literals;
using syncbus::BroadcastToken;

namespace {

auto now() { return std::chrono::steady_clock::now(); }

/// Publishes as long as it lives, as an engine would: no more than a window of unconfirmed frames.
class Publisher {
 public:
  explicit Publisher(TransportNode& node) : thread_{[this, &node] { run(node); }} {}
  ~Publisher() {
    stop_ = true;
    thread_.join();
  }

 private:
  void run(TransportNode& node) {
    for (std::uint64_t i = 1; !stop_; ++i) {
      node.transport->broadcast(bytes_of("x"), {1, i});
      while (!stop_ && i > node.recorder.confirmed().frame + 64) std::this_thread::yield();
    }
  }

  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace

CONTRACT_TEST_CASE("a broadcast reaches every node, the sender too, and is confirmed", "[transport]", Transports) {
  TransportNode a{fixture.transport(), 1}, b{fixture.transport(), 2};
  CHECK(a.recorder.session() == 1);
  CHECK(a.recorder.max_frame_bytes() >= 900'000);
  const std::string frame("any\0bytes\r\n$", 12);
  const BroadcastToken token = a.broadcast(frame, 1);
  CHECK(a.recorder.will_hear(frame));
  CHECK(b.recorder.will_hear(frame));
  CHECK(a.recorder.will_confirm(token));
  CHECK(b.recorder.confirmed() == BroadcastToken{});
  CHECK(a.recorder.frame_count() == 1);
  CHECK(a.recorder.in_order());
  CHECK(a.recorder.problems().empty());
}

CONTRACT_TEST_CASE("whatever is published once a node is open arrives there, and nothing that was before",
                   "[transport]", Transports) {
  TransportNode a{fixture.transport(), 1};
  for (std::uint64_t round = 1; round <= 20; ++round) {
    const TransportNode b{fixture.transport(), 100 + round};
    const std::string text = "after the opening " + std::to_string(round);
    REQUIRE(a.recorder.will_confirm(a.broadcast(text, round)));
    REQUIRE(b.recorder.will_hear(text));
    REQUIRE(b.recorder.frame_count() == 1);
  }
}

CONTRACT_TEST_CASE("opening asks the broker for what it allows without disturbing anybody", "[transport]", Transports) {
  TransportNode a{fixture.transport(), 1};
  { const TransportNode b{fixture.transport(), 2}; }
  a.broadcast("mark", 1);
  CHECK(a.recorder.will_hear("mark"));
  CHECK(a.recorder.frame_count() == 1);
}

CONTRACT_TEST_CASE("a directed frame reaches its node, and is not confirmed", "[transport]", Transports) {
  constexpr std::uint64_t far = 0xfedcba9876543210;
  TransportNode a{fixture.transport(), 1}, b{fixture.transport(), far}, c{fixture.transport(), 3};
  a.send(far, "for b");
  a.send(1, "for a");
  CHECK(b.recorder.will_hear("for b"));
  CHECK(a.recorder.will_hear("for a"));
  CHECK(a.recorder.confirmed() == BroadcastToken{});
  a.broadcast("for all", 1);
  for (const TransportNode* node : {&a, &b, &c}) CHECK(node->recorder.will_hear("for all"));
  if (!fixture.shares_directed_frames()) {
    CHECK(a.recorder.frame_count() == 2);
    CHECK(b.recorder.frame_count() == 2);
    CHECK(c.recorder.frame_count() == 1);
  }
}

CONTRACT_TEST_CASE("frames arrive in the order of their broadcasts", "[transport]", Transports) {
  TransportNode a{fixture.transport(), 1}, b{fixture.transport(), 2};
  std::vector<std::string> sent;
  for (std::uint64_t i = 1; i <= 5'000; ++i) {
    sent.push_back(std::to_string(i) + std::string(i % 700, '.'));
    const auto token = a.broadcast(sent.back(), i);
    if (i % 250 == 0) REQUIRE(a.recorder.will_confirm(token));  // the next one finds the transport idle
  }
  CHECK(eventually([&] { return b.recorder.frame_count() == sent.size(); }));
  CHECK(b.recorder.frames() == sent);
  CHECK(a.recorder.in_order());
}

CONTRACT_TEST_CASE("frames as large as the limit are carried", "[transport]", ServerTransports) {
  TransportNode a{fixture.transport(), 1}, b{fixture.transport(), 2};
  for (std::uint64_t i = 1; i <= 10; ++i) {
    const std::string frame(a.recorder.max_frame_bytes(), static_cast<char>('a' + i));
    CHECK(a.recorder.will_confirm(a.broadcast(frame, i)));
    CHECK(a.recorder.will_hear(frame));
    CHECK(b.recorder.will_hear(frame));
  }
  CHECK(a.recorder.interruptions() == 0);
}

CONTRACT_TEST_CASE("a burst beyond all buffers blocks nobody, needs no bytes afterwards, and arrives whole",
                   "[transport]", ServerTransports) {
  TransportNode a{fixture.transport(), 1}, b{fixture.transport(), 2};
  fixture.stop_broker();  // nobody reads: what does not fit into the kernel's buffers is the transport's
  std::vector<std::string> sent;
  const auto begin = now();
  for (std::uint64_t i = 1; i <= 40; ++i) {
    sent.emplace_back(std::size_t{300'000}, static_cast<char>('a' + i % 26));
    std::string frame = sent.back();
    a.broadcast(frame, i);
    frame.assign(frame.size(), '-');
  }
  CHECK(now() - begin < 5s);
  CHECK(a.recorder.confirmed() == BroadcastToken{});
  fixture.resume_broker();
  CHECK(a.recorder.will_confirm({1, 40}));
  CHECK(eventually([&] { return b.recorder.frame_count() == sent.size(); }));
  CHECK(b.recorder.frames() == sent);
  CHECK(a.recorder.interruptions() == 0);
}

CONTRACT_TEST_CASE("a token of another session is dropped", "[transport]", Transports) {
  TransportNode a{fixture.transport(), 1};
  a.transport->broadcast(bytes_of("of the past"), {0, 1});
  a.transport->broadcast(bytes_of("of the future"), {2, 1});
  a.broadcast("of now", 1);
  CHECK(a.recorder.will_hear("of now"));
  CHECK(a.recorder.frame_count() == 1);
}

CONTRACT_TEST_CASE("broadcasts that share a number, or have none, are all confirmed by it", "[transport]", Transports) {
  TransportNode a{fixture.transport(), 1};
  std::vector<std::string> sent;
  for (const std::uint64_t number : {0U, 0U, 1U, 1U, 1U, 2U, 2U}) {
    sent.push_back("frame " + std::to_string(sent.size()));
    const BroadcastToken token = a.broadcast(sent.back(), number);
    REQUIRE(a.recorder.will_confirm(token));
    REQUIRE(a.recorder.will_hear(sent.back()));
  }
  CHECK(a.recorder.frames() == sent);
  CHECK(a.recorder.interruptions() == 0);
  CHECK(a.recorder.problems().empty());
}

CONTRACT_TEST_CASE("an empty message of a stranger's is a frame", "[transport]", Transports) {
  TransportNode a{fixture.transport(), 1};
  fixture.inject(bytes_of(""));
  a.broadcast("after", 1);
  CHECK(a.recorder.will_hear("after"));
  CHECK(a.recorder.frames() == std::vector<std::string>{"", "after"});
}

CONTRACT_TEST_CASE("a publish-only node is confirmed and hears nothing", "[transport]", Transports) {
  auto settings = settings_of(1);
  settings.publish_only = true;
  TransportNode a{fixture.transport(), settings}, b{fixture.transport(), 2};
  CHECK(a.recorder.will_confirm(a.broadcast("x", 1)));
  CHECK(b.recorder.will_hear("x"));
  b.send(1, "for nobody");
  CHECK(b.recorder.will_confirm(b.broadcast("mark", 1)));
  CHECK(a.recorder.frame_count() == 0);
}

CONTRACT_TEST_CASE("a sink may broadcast and send inside its calls", "[transport]", Transports) {
  struct Answering : Recorder {
    void on_ready(std::uint64_t session, std::size_t most) noexcept override {
      Recorder::on_ready(session, most);
      transport->broadcast(bytes_of("hello"), {session, 1});
    }
    void on_frame(syncbus::Bytes bytes) noexcept override {
      Recorder::on_frame(bytes);
      if (frame_count() == 1) transport->send({1}, bytes_of("echoed"));
    }
    void on_confirmed(BroadcastToken token) noexcept override {
      Recorder::on_confirmed(token);
      if (token.frame < 100) transport->broadcast(bytes_of("again"), {token.session, token.frame + 1});
    }
    AnyTransport* transport = nullptr;
  };
  Answering sink;
  const std::unique_ptr<AnyTransport> transport = fixture.transport();
  sink.transport = transport.get();
  transport->open(sink, settings_of(1));
  CHECK(sink.will_confirm({1, 100}));
  CHECK(sink.will_hear("echoed"));
  transport->close();
}

CONTRACT_TEST_CASE("a session that is reopened is interrupted with its reason, and the next one works", "[transport]",
                   Transports) {
  auto settings = settings_of(1);
  settings.publish_only = GENERATE(false, true);
  TransportNode a{fixture.transport(), settings}, b{fixture.transport(), 2};
  a.transport->reopen(1);
  REQUIRE(a.recorder.will_be_ready(2));
  CHECK(a.recorder.interruptions() == 1);
  REQUIRE(eventually([&] { return a.recorder.problems().size() == 1; }));
  CHECK(a.recorder.problems().front().sentence.find("did not come back within the peer timeout") != std::string::npos);
  CHECK(a.recorder.will_confirm(a.broadcast("again", 1)));
  CHECK(b.recorder.will_hear("again"));
  if (!settings.publish_only) CHECK(a.recorder.will_hear("again"));
  CHECK(b.recorder.interruptions() == 0);
  CHECK(a.recorder.in_order());
}

CONTRACT_TEST_CASE("a session that is not the current one is not reopened", "[transport]", Transports) {
  TransportNode a{fixture.transport(), 1};
  for (const std::uint64_t other : {0U, 2U, 3U}) a.transport->reopen(other);
  CHECK(a.recorder.will_confirm(a.broadcast("in session 1", 1)));
  a.transport->reopen(1);
  for (const std::uint64_t other : {3U, 1U})
    a.transport->reopen(other);  // neither takes it back, nor is left for later
  REQUIRE(a.recorder.will_be_ready(2));
  a.transport->reopen(1);
  CHECK(a.recorder.will_confirm(a.broadcast("in session 2", 2)));
  CHECK(a.recorder.interruptions() == 1);
}

CONTRACT_TEST_CASE("sessions that are reopened again and again follow each other without growing pauses", "[transport]",
                   Transports) {
  TransportNode a{fixture.transport({.min_backoff = 5ms, .max_backoff = 1h}), 1};
  for (std::uint64_t session = 1; session <= 16; ++session) {  // doubled as often, 5 ms are minutes
    a.transport->reopen(session);
    REQUIRE(a.recorder.will_be_ready(session + 1));
  }
  CHECK(a.recorder.in_order());
}

CONTRACT_TEST_CASE("close stops everything while another thread broadcasts", "[transport]", Transports) {
  TransportNode a{fixture.transport(), 1};
  const Publisher publisher{a};
  CHECK(eventually([&] { return a.recorder.frame_count() > 100; }));
  a.transport->close();
  const std::size_t heard = a.recorder.frame_count();
  const BroadcastToken confirmed = a.recorder.confirmed();
  std::this_thread::yield();
  CHECK(a.recorder.frame_count() == heard);
  CHECK(a.recorder.confirmed() == confirmed);
  CHECK(a.recorder.interruptions() == 0);
}

CONTRACT_TEST_CASE("what was broadcast before close is with the broker", "[transport]", Transports) {
  const TransportNode b{fixture.transport(), 2};
  for (std::uint64_t round = 1; round <= 20; ++round) {
    const std::string words = "last words " + std::to_string(round);
    TransportNode a{fixture.transport(), 100 + round};
    a.broadcast(words, 1);
    a.broadcast(words + "!", 2);
    a.transport->close();
    REQUIRE(b.recorder.will_hear(words + "!"));
  }
  CHECK(b.recorder.frame_count() == 40);
}

CONTRACT_TEST_CASE("a transport leaves no descriptor and no thread behind", "[transport]", Transports) {
  { const TransportNode warm{fixture.transport(), 1}; }
  const support::ProcessLimits limits;
  for (int i = 0; i != 10; ++i) {
    const TransportNode a{fixture.transport(), 1};
  }
  CHECK(limits.hold());
}

CONTRACT_TEST_CASE("a transport that was never opened can be closed and destroyed", "[transport]", Transports) {
  const std::unique_ptr<AnyTransport> transport = fixture.transport();
  transport->broadcast(bytes_of("x"), {1, 1});
  transport->send({1}, bytes_of("x"));
  transport->reopen(1);
  transport->close();
}
