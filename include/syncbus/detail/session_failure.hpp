// Why a transport has no session with its broker: an error and a sentence for the user.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include <syncbus/error.hpp>

namespace syncbus::inline v1::detail {

/// Why a session ended, or could not be made.
struct SessionEnd {
  Errc code = Errc::not_connected;
  std::string sentence{};
};

/// Whether another attempt may go better because the broker is there, or ready, by then.
[[nodiscard]] constexpr bool is_worth_waiting(Errc code) noexcept {
  return code == Errc::not_connected || code == Errc::timed_out || code == Errc::transport_failure;
}

/// The same, thrown while a session is made.
class SessionFailure : public std::runtime_error {
 public:
  explicit SessionFailure(const SessionEnd& why) : SessionFailure{why.code, why.sentence} {}
  SessionFailure(Errc code, const std::string& sentence) : std::runtime_error{sentence}, code_{code} {}

  [[nodiscard]] SessionEnd end() const { return {code_, what()}; }

 private:
  Errc code_;
};

}  // namespace syncbus::inline v1::detail
