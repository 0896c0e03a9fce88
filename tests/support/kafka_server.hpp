// An Apache Kafka broker of a test's own on free loopback ports: to be stopped, killed and started again at will.
#pragma once

#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>

#include "support/kafka_admin.hpp"
#include "support/server_process.hpp"
#include "support/tcp_proxy.hpp"
#include "support/test_server.hpp"

namespace support {

/// Keeps its log in a folder of its own, also over a restart; its destructor ends the process and removes the folder.
/// It answers some 3 s after it was started, and takes 300 MB of memory.
class KafkaServer : public TestServer {
 public:
  /// How long a fetch may wait: what is published ends it.
  static constexpr std::chrono::milliseconds fetch_wait{500};

  /// Throws a sentence when it cannot be started.
  KafkaServer()
      : TestServer{"Apache Kafka",
                   "apt-get install maven (with Java 17 or newer), then tests/support/kafka/run --fetch"} {
    start_on_free_port();
  }
  ~KafkaServer() override {
    kill();
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  [[nodiscard]] std::string brokers() const { return "127.0.0.1:" + std::to_string(port()); }
  [[nodiscard]] std::string url() const { return "kafka://" + brokers(); }

  /// Made when it is first asked for: before that, and with one that ends, no thread of this object's runs.
  [[nodiscard]] const KafkaAdmin& admin() {
    if (!admin_) admin_.emplace(brokers());
    return *admin_;
  }
  void create_topic(const std::string& name, int partitions = 1) { admin().create_topic(name, partitions); }

  /// In front of it, one at a time. A broker tells its clients where it is to be found; to those that come through the
  /// proxy, it says the proxy's port.
  [[nodiscard]] TcpProxy proxy() const { return TcpProxy{proxied_port_, proxy_port_}; }

  /// Clients that come this way are told, unless there is a proxy, an address where nobody is: the classic mistake in
  /// advertised.listeners.
  [[nodiscard]] std::string misadvertised() const { return "127.0.0.1:" + std::to_string(proxied_port_); }
  [[nodiscard]] std::string advertised_wrongly() const { return "127.0.0.1:" + std::to_string(proxy_port_); }

 private:
  void choose_further_ports() override {
    controller_port_ = ServerProcess::free_port();
    proxied_port_ = ServerProcess::free_port();
    proxy_port_ = ServerProcess::free_port();
  }

  bool try_start() override {
    const KafkaAdmin asking{brokers()};
    return process().start(
        {SYNCBUS_TEST_SUPPORT "/kafka/run", folder_, std::to_string(port()), std::to_string(controller_port_),
         std::to_string(proxied_port_), std::to_string(proxy_port_)},
        [&] { return asking.answers(); }, start_patience);
  }

  /// A virtual machine, on a machine that may be busy.
  static constexpr std::chrono::minutes start_patience{2};

  [[nodiscard]] static std::string make_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "syncbus-kafka-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error{"no folder for Kafka in " + name};
    return name;
  }

  const std::string folder_ = make_folder();
  int controller_port_ = 0;
  int proxied_port_ = 0;
  int proxy_port_ = 0;
  std::optional<KafkaAdmin> admin_;
};

}  // namespace support
