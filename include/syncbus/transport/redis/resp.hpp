// RESP, the protocol of Redis, as far as publishing and subscribing need it: commands out, replies in. Pure.
// Replies are read in place: hiredis's own reader copies each message twice and sets no limit to its size.
// Format: https://redis.io/docs/latest/develop/reference/protocol-spec/
#pragma once

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace syncbus::inline v1::detail {

/// One reply, flat. The words point into the input that was parsed.
struct RespReply {
  enum class Kind : std::uint8_t {
    status,   ///< +OK, and the simple types of RESP3: words[0] is their text
    error,    ///< words[0] is the sentence, which begins with its code
    integer,  ///< words[0] is its digits
    text,     ///< a bulk string, empty if null
    array,    ///< an array, a map or a push of RESP3: its elements are words, an array among them an empty one
  };

  Kind kind = Kind::status;
  bool push = false;  ///< an array that answers nothing
  std::size_t size = 0;
  std::array<std::string_view, 16> words{};  ///< the first; the answer to HELLO has fourteen, a message three

  [[nodiscard]] constexpr std::string_view word(std::size_t i) const noexcept { return i < size ? words[i] : ""; }
};

enum class RespState : std::uint8_t { complete, incomplete, malformed };

/// What came of parsing. `bytes`: the length of the reply; of an incomplete one, the least that it can have.
struct RespProgress {
  RespState state = RespState::incomplete;
  std::size_t bytes = 0;
};

/// Longest line (status, error, number) that is believed to be one, in bytes.
inline constexpr std::size_t resp_max_line = std::size_t{64} << 10U;

/// Most elements, those of arrays in it included, that are believed to be one array.
inline constexpr std::int64_t resp_max_elements = 10'000;

/// One element of a reply. An array's is its header alone; `length` is then the number of elements.
struct RespItem {
  char sign = 0;
  std::int64_t length = 0;
  std::string_view word;

  [[nodiscard]] constexpr bool is_array() const noexcept {
    return sign == '*' || sign == '>' || sign == '%' || sign == '~';
  }
  /// Of an array.
  [[nodiscard]] constexpr std::int64_t elements() const noexcept {
    return length < 0 ? 0 : sign == '%' ? 2 * length : length;
  }
};

/// Reads the item at input[at...). `bytes` counts from the start of the input.
[[nodiscard]] inline RespProgress parse_item(std::string_view input, std::size_t at, RespItem& item) noexcept {
  const std::size_t line_end = input.find("\r\n", at);
  if (line_end == std::string_view::npos) {
    const bool hopeless = input.size() - at > resp_max_line;
    return {hopeless ? RespState::malformed : RespState::incomplete, input.size() + 1};
  }
  if (line_end == at) return {RespState::malformed, 0};
  const std::size_t next = line_end + 2;
  item.sign = input[at];
  item.word = input.substr(at + 1, line_end - at - 1);
  constexpr std::string_view simple = "+-:_#,(";
  constexpr std::string_view counted = "$=!*>%~";
  if (simple.find(item.sign) != std::string_view::npos) return {RespState::complete, next};
  if (counted.find(item.sign) == std::string_view::npos) return {RespState::malformed, 0};

  const char* const digits_end = item.word.data() + item.word.size();
  const auto [end, error] = std::from_chars(item.word.data(), digits_end, item.length);
  constexpr std::int64_t most = std::int64_t{1} << 40U;
  if (error != std::errc{} || end != digits_end || item.length < -1 || item.length > most) {
    return {RespState::malformed, 0};
  }
  item.word = {};
  if (item.is_array() || item.length < 0) return {RespState::complete, next};
  const auto length = static_cast<std::size_t>(item.length);
  if (input.size() - next < length + 2) return {RespState::incomplete, next + length + 2};
  if (input.substr(next + length, 2) != "\r\n") return {RespState::malformed, 0};
  item.word = input.substr(next, length);
  return {RespState::complete, next + length + 2};
}

/// Reads the reply that begins the input. Of an array with more than resp_max_elements nothing is believed.
[[nodiscard]] inline RespProgress parse_reply(std::string_view input, RespReply& reply) noexcept {
  using Kind = RespReply::Kind;
  RespItem item;
  RespProgress progress = parse_item(input, 0, item);
  if (progress.state != RespState::complete) return progress;
  reply.size = 0;
  reply.push = item.sign == '>';
  if (!item.is_array()) {
    const bool text = item.sign == '$' || item.sign == '=';
    const bool error = item.sign == '-' || item.sign == '!';
    reply.kind = text ? Kind::text : error ? Kind::error : item.sign == ':' ? Kind::integer : Kind::status;
    reply.words[reply.size++] = item.word;
    return progress;
  }
  reply.kind = Kind::array;
  std::int64_t own = item.elements();  // still to come
  std::int64_t inner = 0;              // of arrays in it, likewise
  for (std::int64_t before = 0; own + inner > 0; ++before) {
    if (before + own + inner > resp_max_elements) return {RespState::malformed, 0};
    progress = parse_item(input, progress.bytes, item);
    if (progress.state != RespState::complete) return progress;
    const bool is_own = inner == 0;
    --(is_own ? own : inner);
    if (item.is_array()) inner += item.elements();
    if (is_own && reply.size != reply.words.size()) reply.words[reply.size++] = item.is_array() ? "" : item.word;
  }
  return progress;
}

/// Appends the header of a bulk string of that many bytes.
inline void append_bulk_header(std::string& out, std::size_t bytes) {
  out += '$';
  out += std::to_string(bytes);
  out += "\r\n";
}

/// A command as the server reads it. Words may hold any bytes.
[[nodiscard]] inline std::string resp_command(std::initializer_list<std::string_view> words) {
  std::string out{'*'};
  out += std::to_string(words.size());
  out += "\r\n";
  for (const std::string_view word : words) {
    append_bulk_header(out, word.size());
    out += word;
    out += "\r\n";
  }
  return out;
}

/// Everything of a PUBLISH to that channel that precedes the length of the message.
[[nodiscard]] inline std::string resp_publish_prefix(std::string_view channel) {
  std::string out = "*3\r\n$7\r\nPUBLISH\r\n";
  append_bulk_header(out, channel.size());
  out += channel;
  out += "\r\n$";
  return out;
}

}  // namespace syncbus::inline v1::detail
