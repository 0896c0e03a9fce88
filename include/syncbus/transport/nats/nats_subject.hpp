// The subject of a bus on NATS: the client accepts what no server delivers, so it is checked here. Pure.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>

#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/transport/session/url_parts.hpp>

namespace syncbus::inline v1::detail {

/// Longest subject, in bytes: a server reads at most 4,096 bytes of a command, and one names two subjects.
inline constexpr std::size_t max_nats_subject = 1'000;

/// Why nothing could be published on it and heard again; nullptr if that is possible.
[[nodiscard]] inline const char* fault_of_nats_subject(std::string_view subject) noexcept {
  if (subject.empty()) return "it is empty";
  if (subject.size() > max_nats_subject) return "it is longer than 1,000 bytes";
  if (subject.front() == '$') return "what begins with $ belongs to the server";
  char before = '.';
  for (const char c : subject) {
    if (is_blank_or_control(c)) return "it holds a space or a control character";
    if (c == '*' || c == '>') return "it holds a wildcard";
    if (c == '.' && before == '.') return "one of its tokens is empty";
    before = c;
  }
  return before == '.' ? "its last token is empty" : nullptr;
}

/// Throws std::system_error (invalid_argument) with a sentence that says what was expected.
inline void require_nats_subject(std::string_view subject) {
  const char* const fault = fault_of_nats_subject(subject);
  if (fault == nullptr) return;
  throw std::system_error{
      make_error_code(Errc::invalid_argument),
      "not a subject of NATS: " + std::string{fault} + "; expected tokens separated by dots, for example warp.events"};
}

/// Where frames for one node are published.
[[nodiscard]] inline std::string direct_nats_subject(std::string_view subject, NodeId node) {
  return std::string{subject} + ".direct." + to_string(node);
}

}  // namespace syncbus::inline v1::detail
