// A KafkaTransport alone with its recorder: one end of the pipe, for tests below the bus.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <syncbus/transport/kafka_transport.hpp>

#include "contract/kafka_tuning.hpp"
#include "contract/recorder.hpp"
#include "support/eventually.hpp"
#include "support/kafka_mock.hpp"

namespace contract {

[[nodiscard]] inline syncbus::TransportSettings kafka_settings_of(std::uint64_t id) {
  return {.self = {id},
          .publish_only = false,
          .connect_timeout = std::chrono::seconds{20},
          .peer_timeout = std::chrono::seconds{20}};
}

/// Also of a real broker: more requests than it needs.
[[nodiscard]] inline syncbus::KafkaTuning quick_node() { return quick_kafka<support::KafkaMock>(); }

struct KafkaNode {
  KafkaNode(const std::string& brokers, const std::string& topic, const syncbus::TransportSettings& settings,
            syncbus::KafkaTuning tuning = quick_node())
      : transport{brokers, topic, std::move(tuning)} {
    transport.open(recorder, settings);
  }
  KafkaNode(const std::string& brokers, const std::string& topic, std::uint64_t id)
      : KafkaNode{brokers, topic, kafka_settings_of(id)} {}
  KafkaNode(syncbus::KafkaHandles handles, const std::string& topic, const syncbus::TransportSettings& settings)
      : transport{handles, topic, quick_node()} {
    transport.open(recorder, settings);
  }

  /// In the session that the recorder knows of; `frame` numbers them.
  syncbus::BroadcastToken broadcast(std::string_view text, std::uint64_t frame) {
    const syncbus::BroadcastToken token{recorder.session(), frame};
    transport.broadcast(bytes_of(text), token);
    return token;
  }

  /// Whether it hears what it says, and is confirmed, in this session or one that follows.
  [[nodiscard]] bool works() {
    return support::eventually([&] {
      const std::string text = "session " + std::to_string(recorder.session());
      const syncbus::BroadcastToken token = broadcast(text, 1'000'000);
      const auto done = [&] { return recorder.confirmed() == token && recorder.heard(text); };
      const auto over = [&] { return !recorder.ready() || recorder.session() != token.session; };
      return support::eventually([&] { return done() || over(); }) && done();
    });
  }

  Recorder recorder;  // first: the transport tells it things until it is closed
  syncbus::KafkaTransport transport;
};

}  // namespace contract
