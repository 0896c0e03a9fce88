// The reason why a transport has no session: a code, and a sentence for the user.
#pragma once

#include <cerrno>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <syncbus/base/descriptors.hpp>
#include <syncbus/error.hpp>
#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

/// Why a session ended, or could not be made.
struct DisconnectReason {
  Errc code = Errc::not_connected;
  std::string sentence{};
};

/// Whether another attempt may go better because the broker is there, or ready, by then.
[[nodiscard]] constexpr bool is_worth_waiting(Errc code) noexcept {
  return code == Errc::not_connected || code == Errc::timed_out || code == Errc::transport_failure;
}

/// Returns `why`, or, if there was no descriptor to connect with, a reason that says so: clients hardly do.
[[nodiscard]] inline DisconnectReason unless_without_descriptors(DisconnectReason why) {
  if (!is_worth_waiting(why.code)) return why;
  const auto says = [&](int error) {
    return why.sentence.find(std::generic_category().message(error)) != std::string::npos;
  };
  const int error = says(ENFILE) ? ENFILE : says(EMFILE) ? EMFILE : why_no_descriptor();  // its words begin with those
  const std::string_view advice = advice_without_descriptor(error);
  if (advice.empty() || why.sentence.starts_with(advice)) return why;
  std::string sentence{advice};
  sentence += " (";
  sentence += why.sentence;
  sentence += ')';
  return {why.code, std::move(sentence)};
}

/// The same, thrown while a session is made.
class ConnectError : public std::runtime_error {
 public:
  explicit ConnectError(const DisconnectReason& why) : ConnectError{why.code, why.sentence} {}
  ConnectError(Errc code, const std::string& sentence) : std::runtime_error{sentence}, code_{code} {}

  [[nodiscard]] DisconnectReason end() const { return {code_, what()}; }

 private:
  Errc code_;
};

/// Throws it when a broker takes too small messages for a session. `what` takes them, `limit` in bytes.
inline void require_frame_bytes(std::size_t limit, const std::string& what) {
  if (limit >= least_frame_bytes) return;
  throw ConnectError{Errc::frame_too_large, what + " takes messages of " + std::to_string(limit) +
                                                " bytes at most, and a node needs " +
                                                std::to_string(least_frame_bytes)};
}

}  // namespace syncbus::inline v1::detail
