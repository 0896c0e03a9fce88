// Requests to a Kafka cluster that librdkafka does not make: who leads a partition, and where its replicas are.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "support/server_process.hpp"

namespace support {

/// In Kafka's protocol; of partition 0 of a topic. Any broker takes them, and hands them on to the controller. Throws a
/// sentence when there is no answer.
class KafkaRequests {
 public:
  explicit KafkaRequests(int port) : port_{port} {}

  /// The first of its replicas leads it from now on, if it is in sync: ElectLeaders, version 0.
  void elect_preferred_leader(std::string_view topic) const {
    Message body;
    body.int32(1);
    body.text(topic);
    body.int32(1);
    body.int32(0);
    body.int32(timeout_ms);
    ask(43, body, false);
  }

  /// Its replicas are these brokers from now on: AlterPartitionReassignments, version 0.
  void reassign(std::string_view topic, const std::vector<std::int32_t>& brokers) const {
    Message body;
    body.int32(timeout_ms);
    body.count(1);
    body.compact_text(topic);
    body.count(1);
    body.int32(0);
    body.count(brokers.size());
    for (const std::int32_t broker : brokers) body.int32(broker);
    for (int i = 0; i != 3; ++i) body.byte(0);  // no tagged fields of the partition, the topic, the request
    ask(45, body, true);
  }

 private:
  static constexpr std::int32_t timeout_ms = 10'000;

  struct Message {
    std::string bytes{};

    void byte(std::uint32_t value) { bytes.push_back(static_cast<char>(value & 0xFF)); }
    void int16(std::uint32_t value) {
      byte(value >> 8);
      byte(value);
    }
    void int32(std::int32_t value) {
      int16(static_cast<std::uint32_t>(value) >> 16);
      int16(static_cast<std::uint32_t>(value) & 0xFFFF);
    }
    void text(std::string_view text) {
      int16(static_cast<std::uint32_t>(text.size()));
      bytes += text;
    }
    // In flexible versions; what is counted here is below 127.
    void count(std::size_t count) { byte(static_cast<std::uint32_t>(count + 1)); }
    void compact_text(std::string_view text) {
      count(text.size());
      bytes += text;
    }
  };

  void ask(std::uint32_t api, const Message& body, bool flexible) const {
    Message request;
    request.int16(api);
    request.int16(0);
    request.int32(1);
    request.text("syncbus-tests");
    if (flexible) request.byte(0);
    request.bytes += body.bytes;
    Message framed;
    framed.int32(static_cast<std::int32_t>(request.bytes.size()));
    exchange(framed.bytes + request.bytes);
  }

  /// Returns when the answer has begun to come: what the cluster says of itself afterwards is worth more.
  void exchange(const std::string& request) const {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const timeval limit{30, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const sockaddr_in address = loopback(port_);
    std::int32_t size = 0;
    const bool answered =
        ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
        ::send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size()) &&
        ::recv(fd, &size, sizeof size, MSG_WAITALL) == sizeof size;
    ::close(fd);
    if (!answered) throw std::runtime_error{"the Kafka broker at port " + std::to_string(port_) + " did not answer"};
  }

  int port_;
};

}  // namespace support
