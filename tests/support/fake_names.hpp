// Names of hosts that a test makes up: getaddrinfo of the whole program knows them, and can be made slow for them.
#pragma once

#include <string>
#include <vector>

namespace support {

/// While it lives, `host` is a name with these addresses. Held, whoever looks it up waits; for no more than a minute,
/// so that a test fails and does not hang. Its destructor returns when nobody waits any more.
class FakeName {
 public:
  FakeName(std::string host, std::vector<std::string> addresses);
  FakeName(const FakeName&) = delete;
  FakeName& operator=(const FakeName&) = delete;
  ~FakeName();

  [[nodiscard]] const std::string& host() const noexcept { return host_; }

  void hold(bool held = true);
  /// How many wait.
  [[nodiscard]] int waiting() const;

 private:
  std::string host_;
};

}  // namespace support
