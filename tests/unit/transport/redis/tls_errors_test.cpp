// That what handlers leave in OpenSSL's queue of errors breaks no connection. This program has no OpenSSL: its stand-in.
#include <syncbus/transport/redis/tls_errors.hpp>

#include "support/catch.hpp"

namespace {

int errors = 0;

}  // namespace

extern "C" void ERR_clear_error(void) { errors = 0; }

TEST_CASE("errors that a handler left in OpenSSL's queue are forgotten before TLS is read or written") {
  errors = 3;
  syncbus::detail::forget_tls_errors();
  CHECK(errors == 0);
}
