// A cluster of three Apache Kafka brokers of a test's own: to be stopped, killed, cut off and started again at will.
#pragma once

#include <stdlib.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "support/eventually.hpp"
#include "support/kafka_admin.hpp"
#include "support/kafka_requests.hpp"
#include "support/server_process.hpp"
#include "support/tcp_proxy.hpp"

namespace support {

/// KRaft nodes, brokers and controllers at once, numbered from 1. Its destructor ends them. Takes a gigabyte of memory.
class KafkaCluster {
 public:
  static constexpr std::int32_t size = 3;

  /// For virtual machines, of which there are three on a machine that may be busy.
  static constexpr std::chrono::minutes patience{2};

  /// With these further properties of each broker. Throws a sentence when it cannot be started.
  explicit KafkaCluster(std::vector<std::string> properties = {}) : properties_{std::move(properties)} {
    for (int attempt = 0; attempt != 3; ++attempt) {
      choose_ports();
      for (std::int32_t id = 1; id <= size; ++id) become(id);
      if (eventually([&] { return any_ended() || all_answer(); }, patience) && !any_ended()) return;
      for (Node& one : nodes_) one.process.kill();
      std::filesystem::remove_all(folder_);
    }
    ServerProcess::throw_not_started("a cluster of Apache Kafka", "tests/support/kafka/run --fetch");
  }
  KafkaCluster(const KafkaCluster&) = delete;
  KafkaCluster& operator=(const KafkaCluster&) = delete;
  ~KafkaCluster() {
    for (Node& one : nodes_) one.process.kill();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  [[nodiscard]] std::string brokers() const { return list(&Node::port); }
  /// Where a client is told of the proxies' addresses, whether there are proxies or not.
  [[nodiscard]] std::string proxied_brokers() const { return list(&Node::proxied_port); }
  [[nodiscard]] std::string address_of_proxy(std::int32_t id) const { return address(node(id).proxy_port); }
  [[nodiscard]] std::unique_ptr<TcpProxy> proxy(std::int32_t id) const {
    return std::make_unique<TcpProxy>(node(id).proxied_port, node(id).proxy_port);
  }

  [[nodiscard]] KafkaRequests requests(std::int32_t id) const { return KafkaRequests{node(id).port}; }

  /// Three replicas, of which two have to have what is stored.
  void create_topic(const std::string& name) const {
    KafkaAdmin{brokers()}.create_topic(name, 1, {{"min.insync.replicas", "2"}}, size);
    if (!is_in_sync(name)) throw std::runtime_error{"topic " + name + " has no replicas in sync"};
  }

  /// Whether so many replicas have everything in the end.
  [[nodiscard]] bool is_in_sync(const std::string& topic, int replicas = size) const {
    return eventually([&] { return leadership(topic).in_sync == replicas; }, patience);
  }
  /// -1: none.
  [[nodiscard]] std::int32_t leader(const std::string& topic) const { return leadership(topic).leader; }
  /// Whether another leads it in the end.
  [[nodiscard]] bool elects_another(const std::string& topic, std::int32_t than) const {
    const auto is_another = [&](std::int32_t now) { return now > 0 && now != than; };
    return eventually([&] { return is_another(leader(topic)); }, patience);
  }

  void kill(std::int32_t id) noexcept {
    node(id).away = true;
    node(id).process.kill();
  }
  /// It hands over what it leads, and ends.
  void terminate(std::int32_t id) noexcept {
    node(id).away = true;
    node(id).process.terminate();
  }
  void start(std::int32_t id) {
    become(id);
    if (!eventually([&] { return answers(id); }, patience)) throw std::runtime_error{"a Kafka broker does not answer"};
  }
  void stop(std::int32_t id) noexcept {
    node(id).away = true;
    node(id).process.stop();
  }
  void resume(std::int32_t id) noexcept {
    node(id).away = false;
    node(id).process.resume();
  }

  /// Whatever a test left: afterwards all run.
  void revive() {
    for (std::int32_t id = 1; id <= size; ++id) node(id).process.started() ? resume(id) : become(id);
    if (!eventually([&] { return all_answer(); }, patience)) throw std::runtime_error{"a Kafka broker does not answer"};
  }

 private:
  struct Node {
    int port = 0;
    int controller_port = 0;
    int proxied_port = 0;
    int proxy_port = 0;
    bool away = false;  // killed or stopped
    ServerProcess process{};
  };

  [[nodiscard]] Node& node(std::int32_t id) noexcept { return nodes_[static_cast<std::size_t>(id - 1)]; }
  [[nodiscard]] const Node& node(std::int32_t id) const noexcept { return nodes_[static_cast<std::size_t>(id - 1)]; }

  [[nodiscard]] static std::string address(int port) { return "127.0.0.1:" + std::to_string(port); }
  [[nodiscard]] std::string list(int Node::*port) const {
    std::string all;
    for (const Node& one : nodes_) all += (all.empty() ? "" : ",") + address(one.*port);
    return all;
  }

  void choose_ports() {
    for (Node& one : nodes_) {
      for (int* const port : {&one.port, &one.controller_port, &one.proxied_port, &one.proxy_port}) {
        *port = ServerProcess::free_port();
      }
    }
  }

  /// Does not wait: the first one answers only when there is a second.
  void become(std::int32_t id) {
    Node& one = node(id);
    const std::string folder = folder_ + "/" + std::to_string(id);
    std::filesystem::create_directories(folder);
    std::string voters;
    for (std::int32_t voter = 1; voter <= size; ++voter) {
      voters += (voters.empty() ? "" : ",") + std::to_string(voter) + "@" + address(node(voter).controller_port);
    }
    std::vector<std::string> words{SYNCBUS_TEST_SUPPORT "/kafka/run", folder};
    for (const int port : {one.port, one.controller_port, one.proxied_port, one.proxy_port}) {
      words.push_back(std::to_string(port));
    }
    words.insert(words.end(), {std::to_string(id), voters});
    words.insert(words.end(), properties_.begin(), properties_.end());
    one.away = false;
    static_cast<void>(one.process.start(words, [] { return true; }));
  }

  /// As one of those sees it that run. By a client of its own: one that has asked a broker that was stopped since goes
  /// on asking that; and between two questions no thread of ours runs.
  [[nodiscard]] KafkaAdmin::Leadership leadership(const std::string& topic) const {
    const auto running = std::find_if(nodes_.begin(), nodes_.end(), [](const Node& one) { return !one.away; });
    return KafkaAdmin{address(running->port)}.leadership(topic);
  }

  [[nodiscard]] static bool answers_at(int port) { return KafkaAdmin{address(port)}.answers(); }
  [[nodiscard]] bool answers(std::int32_t id) const { return answers_at(node(id).port); }
  [[nodiscard]] bool all_answer() const {
    return std::all_of(nodes_.begin(), nodes_.end(), [](const Node& one) { return answers_at(one.port); });
  }
  [[nodiscard]] bool any_ended() const {
    return std::any_of(nodes_.begin(), nodes_.end(), [](const Node& one) { return one.process.ended(); });
  }

  [[nodiscard]] static std::string make_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "syncbus-kafka-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error{"no folder for Kafka in " + name};
    return name;
  }

  const std::vector<std::string> properties_;
  const std::string folder_ = make_folder();
  std::array<Node, static_cast<std::size_t>(size)> nodes_{};
};

}  // namespace support
