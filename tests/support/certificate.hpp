// A certificate for the servers of a test, which `openssl` makes when the test wants it.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <string>
#include <system_error>

#include "support/server_process.hpp"

namespace support {

/// Self-signed, for 127.0.0.1; its files are gone with it.
class Certificate {
 public:
  Certificate() {
    std::string folder = "/tmp/syncbus-certificate-XXXXXX";
    if (::mkdtemp(folder.data()) != nullptr) folder_ = folder;
    ServerProcess openssl;
    static_cast<void>(openssl.start({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                                     "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
                                     "subjectAltName=IP:127.0.0.1", "-keyout", key(), "-out", file()},
                                    [] { return false; }));  // but end
    if (!std::filesystem::exists(file())) ServerProcess::throw_not_started("openssl");
  }
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;
  ~Certificate() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  /// PEM files.
  [[nodiscard]] std::string file() const { return folder_ + "/certificate.pem"; }
  [[nodiscard]] std::string key() const { return folder_ + "/key.pem"; }

 private:
  std::string folder_;
};

}  // namespace support
