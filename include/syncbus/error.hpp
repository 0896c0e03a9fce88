// The errors of the library as std::error_code, each with a sentence that says what to do.
#pragma once

#include <syncbus/version.hpp>  // first: it may refuse the compiler

#include <string>
#include <string_view>
#include <system_error>

namespace syncbus::inline v1 {

enum class Errc {
  closed = 1,            ///< the bus was closed
  canceled,              ///< a stop was requested while the call waited
  timed_out,             ///< the deadline passed
  invalid_key,           ///< an empty key, or one above max_key_bytes
  invalid_argument,      ///< an argument that the operation cannot take
  would_deadlock,        ///< a call that waits, made inside a handler, or by the thread that is to run it
  quorum_unsupported,    ///< this bus hears no acknowledgements
  quorum_not_satisfied,  ///< fewer replicas than asked for acknowledged
  too_many_awaits,       ///< as many events are awaited as max_awaits allows, or as history_bytes has room for
  not_connected,         ///< the broker cannot be reached, or there is no session with it
  permission_denied,     ///< the broker refused the user, or what the user may not do
  frame_too_large,       ///< the event does not fit into a frame of this broker
  malformed_frame,       ///< bytes that are no frame
  unsupported_version,   ///< a frame of another protocol version
  transport_failure,     ///< the broker or its client reported an error
  forked,                ///< the bus was made before a fork, by the parent process
};

/// The category of `Errc`. Each shared object may have an object of it, so it is known by its name: `code ==
/// Errc::closed` and `code.category() == error_category()` are true of a code that any of them made. Two codes of
/// different shared objects are compared as `a == b.default_error_condition()`, because std::error_code compares
/// addresses.
class [[gnu::visibility("default")]] ErrorCategory final : public std::error_category {
 public:
  constexpr ErrorCategory() noexcept = default;

  [[nodiscard]] const char* name() const noexcept override { return "syncbus"; }
  [[nodiscard]] std::string message(int code) const override;

  /// A condition of std::errc where there is one that says the same: `code == std::errc::timed_out`.
  [[nodiscard]] std::error_condition default_error_condition(int code) const noexcept override;

  [[nodiscard]] bool equivalent(int code, const std::error_condition& condition) const noexcept override {
    if (is_same_as(condition.category())) return condition.value() == code;
    return default_error_condition(code) == condition;
  }
  [[nodiscard]] bool equivalent(const std::error_code& code, int condition) const noexcept override {
    return is_same_as(code.category()) && code.value() == condition;
  }

  [[nodiscard]] bool is_same_as(const std::error_category& other) const noexcept {
    return this == &other || std::string_view{other.name()} == name();
  }
};

[[nodiscard]] inline bool operator==(const std::error_category& one, const ErrorCategory& other) noexcept {
  return other.is_same_as(one);
}
[[nodiscard]] inline bool operator==(const ErrorCategory&, const ErrorCategory&) noexcept { return true; }

/// A std::system_error puts this behind its own sentence, which says what happened and what to do: it must be true
/// there, whatever the sentence is.
inline std::string ErrorCategory::message(int code) const {
  switch (static_cast<Errc>(code)) {
    case Errc::closed: return "the bus is closed; make a new one to go on";
    case Errc::canceled: return "the wait was canceled by its stop token";
    case Errc::timed_out: return "the deadline passed before the operation ended";
    case Errc::invalid_key: return "a key must have at least one byte and at most max_key_bytes";
    case Errc::invalid_argument: return "an argument is not what the operation can take";
    case Errc::would_deadlock:
      return "this call waits for handlers that cannot run before it returns: it was made inside one, or by the thread "
             "that is to run the tasks of an executor";
    case Errc::quorum_unsupported:
      return "this bus receives no acknowledgements (publish_only), so it cannot await any";
    case Errc::quorum_not_satisfied: return "fewer replicas than asked for acknowledged the event";
    case Errc::too_many_awaits:
      return "as many events are awaited as max_awaits allows, or as history_bytes has room for; wait for some awaits "
             "to end, or raise the limits";
    case Errc::not_connected: return "this node is not connected to its broker";
    case Errc::permission_denied: return "the broker does not permit it";
    case Errc::frame_too_large: return "the event does not fit into one message of this broker";
    case Errc::malformed_frame: return "the bytes are not a valid frame";
    case Errc::unsupported_version: return "the frame is of a protocol version that this library does not know";
    case Errc::transport_failure: return "the broker or its client reported an error";
    case Errc::forked:
      return "the bus, or hub, was made by the process that forked this one and works only there; "
             "make one after the fork";
  }
  return "unknown syncbus error";
}

inline std::error_condition ErrorCategory::default_error_condition(int code) const noexcept {
  switch (static_cast<Errc>(code)) {
    case Errc::canceled: return std::errc::operation_canceled;
    case Errc::timed_out: return std::errc::timed_out;
    case Errc::invalid_key:
    case Errc::invalid_argument: return std::errc::invalid_argument;
    case Errc::would_deadlock: return std::errc::resource_deadlock_would_occur;
    case Errc::quorum_unsupported: return std::errc::operation_not_supported;
    case Errc::too_many_awaits: return std::errc::resource_unavailable_try_again;
    case Errc::not_connected: return std::errc::not_connected;
    case Errc::permission_denied: return std::errc::permission_denied;
    case Errc::frame_too_large: return std::errc::message_size;
    case Errc::malformed_frame: return std::errc::bad_message;
    case Errc::unsupported_version: return std::errc::protocol_not_supported;
    case Errc::closed:
    case Errc::quorum_not_satisfied:
    case Errc::transport_failure:
    case Errc::forked: break;
  }
  return {code, *this};
}

/// It is never destroyed: a static bus may end after what was made when it was first used.
[[nodiscard]] [[gnu::visibility("default")]] inline const ErrorCategory& error_category() noexcept {
  union Kept {
    constexpr Kept() noexcept : category{} {}
    ~Kept() {}
    ErrorCategory category;
  };
  static constinit const Kept kept;
  return kept.category;
}

[[nodiscard]] inline std::error_code make_error_code(Errc code) noexcept {
  return {static_cast<int>(code), error_category()};
}

/// Whichever shared object made the code.
[[nodiscard]] inline bool operator==(const std::error_code& code, Errc errc) noexcept {
  return code.value() == static_cast<int>(errc) && code.category() == error_category();
}

}  // namespace syncbus::inline v1

template <>
struct std::is_error_code_enum<syncbus::Errc> : std::true_type {};
