// A RedisBus over real TLS, by the user's connector. Needs hiredis_ssl, which hiredis has from 1.0 on: see CMakeLists.txt.
#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include <syncbus/redis_bus.hpp>

#include "contract/fixtures/heard.hpp"
#include "contract/fixtures/quick.hpp"
#include "support/catch.hpp"
#include "support/certificate.hpp"
#include "support/eventually.hpp"
#include "support/redis_server.hpp"

using namespace contract;
using namespace std::chrono_literals;
using support::eventually;
using syncbus::RedisBus;

namespace {

/// As programs read a bundle of certificates: to the end, where OpenSSL keeps an error for the thread.
void read_bundle(const std::string& file) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio{BIO_new_file(file.c_str(), "r"), BIO_free};
  while (X509* const certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) X509_free(certificate);
}

}  // namespace

TEST_CASE("over TLS frames go both ways, and what handlers leave in OpenSSL's queue of errors ends no session",
          "[contract][redis]") {
  const support::Certificate certificate;
  const int tls_port = support::ServerProcess::free_port();
  const support::RedisServer server{{"--tls-port", std::to_string(tls_port), "--tls-cert-file", certificate.file(),
                                     "--tls-key-file", certificate.key(), "--tls-ca-cert-file", certificate.file(),
                                     "--tls-auth-clients", "no"}};
  redisInitOpenSSL();
  redisSSLContextError error = REDIS_SSL_CTX_NONE;
  const std::unique_ptr<redisSSLContext, decltype(&redisFreeSSLContext)> tls{
      redisCreateSSLContext(certificate.file().c_str(), nullptr, nullptr, nullptr, nullptr, &error),
      redisFreeSSLContext};
  REQUIRE(error == REDIS_SSL_CTX_NONE);
  const syncbus::RedisConnector connector = [&] {
    redisContext* const context = redisConnectWithTimeout("127.0.0.1", tls_port, timeval{10, 0});
    if (context != nullptr && context->err == 0) redisInitiateSSLWithContext(context, tls.get());
    return context;
  };

  RedisBus bus{connector, "channel", {}, quick}, plain{server.url(), "channel", {}, quick};
  Heard heard, at_plain;
  std::atomic<bool> left_errors = true;
  const auto subscription = bus.subscribe_all(
      [&, hear = heard.on_event()](const syncbus::Event& event) {
        read_bundle(certificate.file());
        left_errors = left_errors && ERR_peek_error() != 0;
        hear(event);
      },
      heard.on_resync());
  const auto other_subscription = plain.subscribe_all(at_plain.on_event(), at_plain.on_resync());
  const std::string large(4'000, 'x');
  for (int i = 0; i != 20; ++i) {
    const std::string key = std::to_string(i) + large;
    CHECK_FALSE(plain.publish(key));
    REQUIRE(eventually([&] { return heard.contains("invalidate " + key); }));
    CHECK_FALSE(bus.publish("back" + key, {.scope = syncbus::Scope::remote}));
    REQUIRE(eventually([&] { return at_plain.contains("invalidate back" + key); }));
  }
  CHECK_FALSE(bus.flush(10s));
  CHECK(left_errors);
  CHECK(bus.metrics().reconnects == 0);
}
