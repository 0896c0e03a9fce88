// Clears OpenSSL's queue of errors, which every thread has, in programs that link OpenSSL.
#pragma once

namespace syncbus::inline v1::detail {

extern "C" {
/// A weak reference: null where the program has no OpenSSL.
[[gnu::weak]] void ERR_clear_error(void);
}

/// Before anything is read or written through TLS: SSL_get_error() takes any error in the thread's queue for one of the
/// connection. Handlers run on the same threads and may have left one there (a loop over PEM_read_bio_X509 ends with
/// one).
inline void forget_tls_errors() noexcept {
  if (ERR_clear_error != nullptr) ERR_clear_error();
}

}  // namespace syncbus::inline v1::detail
