// RESP: what a Redis server sends is read in whatever pieces it comes, and garbage is known as such.
#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <syncbus/transport/redis/resp.hpp>
#include <syncbus/transport/redis/resp_reader.hpp>

#include "support/catch.hpp"

using namespace syncbus::detail;
using Next = RespReader::Next;

namespace {

constexpr std::size_t usual = 64;
constexpr std::size_t longest = 1'000;

std::string message(std::string_view payload) {
  std::string text = resp_command({"message", "channel", payload});
  return text;  // a command is an array of bulk strings, as a message is
}

/// What came out of the stream, as lines: the words of replies, or how it went wrong.
std::vector<std::string> replies(std::string_view stream, std::size_t piece) {
  RespReader reader{usual, longest};
  std::vector<std::string> out;
  RespReply reply;
  while (!stream.empty()) {
    const auto room = reader.room();
    REQUIRE_FALSE(room.empty());
    const std::size_t size = (std::min)({piece, room.size(), stream.size()});
    std::copy_n(stream.begin(), size, room.begin());
    stream.remove_prefix(size);
    reader.added(size);
    for (Next next{}; (next = reader.next(reply)) != Next::more;) {
      if (next == Next::malformed) {
        out.emplace_back("malformed");
        return out;
      }
      std::string line = next == Next::oversized ? "oversized" : "";
      for (std::size_t i = 0; next == Next::reply && i != reply.size; ++i) line += std::string{reply.word(i)} + "|";
      out.push_back(line);
    }
  }
  return out;
}

RespProgress parse(std::string_view input) {
  RespReply reply;
  return parse_reply(input, reply);
}

}  // namespace

TEST_CASE("a command is written as an array of bulk strings, whatever bytes its words hold") {
  CHECK(resp_command({"PING"}) == "*1\r\n$4\r\nPING\r\n");
  CHECK(resp_command({"AUTH", "a\r\nb", ""}) == "*3\r\n$4\r\nAUTH\r\n$4\r\na\r\nb\r\n$0\r\n\r\n");
  CHECK(resp_publish_prefix("ch") + "5\r\nhello\r\n" == resp_command({"PUBLISH", "ch", "hello"}));
}

TEST_CASE("each kind of reply is told apart") {
  const auto kind = [](std::string_view input) {
    RespReply reply;
    REQUIRE(parse_reply(input, reply).state == RespState::complete);
    return reply.kind;
  };
  CHECK(kind("+OK\r\n") == RespReply::Kind::status);
  CHECK(kind("-ERR no\r\n") == RespReply::Kind::error);
  CHECK(kind("!5\r\nERR x\r\n") == RespReply::Kind::error);
  CHECK(kind(":12\r\n") == RespReply::Kind::integer);
  CHECK(kind("$2\r\nhi\r\n") == RespReply::Kind::text);
  CHECK(kind("$-1\r\n") == RespReply::Kind::text);
  CHECK(kind("_\r\n") == RespReply::Kind::status);
  CHECK(kind("*0\r\n") == RespReply::Kind::array);
  CHECK(kind(">1\r\n+a\r\n") == RespReply::Kind::array);
}

TEST_CASE("replies are the same in whatever pieces they come") {
  const std::string binary("a\0\r\n$*", 6);
  const std::string stream = "+PONG\r\n" + message(binary) + ":3\r\n>3\r\n+message\r\n$1\r\nc\r\n$0\r\n\r\n" +
                             message(std::string(300, 'x')) + "-NOPERM no\r\n*3\r\n$9\r\nsubscribe\r\n$-1\r\n:2\r\n";
  const std::vector<std::string> expected{"PONG|",
                                          "message|channel|" + binary + "|",
                                          "3|",
                                          "message|c||",
                                          "message|channel|" + std::string(300, 'x') + "|",
                                          "NOPERM no|",
                                          "subscribe||2|"};
  for (std::size_t piece = 1; piece <= stream.size(); ++piece) {
    INFO(piece);
    REQUIRE(replies(stream, piece) == expected);
  }
}

TEST_CASE("a reply above the limit is passed over, and what follows it is read") {
  const std::string stream = "+before\r\n" + message(std::string(5'000, '\r')) + "+between\r\n" +
                             message(std::string(longest, 'y')) + message("after");
  const std::vector<std::string> expected{"before|", "oversized", "between|", "oversized", "message|channel|after|"};
  for (const std::size_t piece : std::vector<std::size_t>{1, 2, 7, 63, 64, 1'000, 10'000}) {
    INFO(piece);
    CHECK(replies(stream, piece) == expected);
  }
}

TEST_CASE("a length alone makes nobody allocate above the limit") {
  RespReader reader{usual, longest};
  RespReply reply;
  const std::string_view header = "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$536870912\r\nx";
  std::copy(header.begin(), header.end(), reader.room().begin());
  reader.added(header.size());
  CHECK(reader.next(reply) == Next::oversized);
  CHECK(reader.next(reply) == Next::more);
  CHECK(reader.room().size() == usual);
}

TEST_CASE("every strict prefix of a reply is incomplete, and says how much it wants at least") {
  const std::string whole = message("some payload");
  for (std::size_t size = 0; size != whole.size(); ++size) {
    INFO(size);
    const RespProgress progress = parse(std::string_view{whole}.substr(0, size));
    CHECK(progress.state == RespState::incomplete);
    CHECK(progress.bytes > size);
    CHECK(progress.bytes <= whole.size());
  }
  CHECK(parse(whole).state == RespState::complete);
  CHECK(parse(whole).bytes == whole.size());
}

TEST_CASE("of an array in an array only the place is kept, and of a long one the first words") {
  const auto words = [](std::string_view input) {
    RespReply reply;
    REQUIRE(parse_reply(input, reply).bytes == input.size());
    std::string all;
    for (std::size_t i = 0; i != reply.size; ++i) all += std::string{reply.word(i)} + "|";
    return all;
  };
  CHECK(words("*3\r\n+a\r\n*2\r\n*1\r\n+x\r\n:7\r\n+b\r\n") == "a||b|");
  CHECK(words("*2\r\n*-1\r\n*0\r\n") == "||");
  CHECK(words("%1\r\n+role\r\n$6\r\nmaster\r\n") == "role|master|");
  std::string many = "*20\r\n";
  for (int i = 0; i != 20; ++i) many += "+w\r\n";
  CHECK(words(many).size() == 2 * 16);
}

TEST_CASE("arrays in arrays are one reply only up to a number of elements, however they are nested") {
  const auto chain = [](std::size_t length) {
    std::string text;
    for (std::size_t i = 0; i != length; ++i) text += "*1\r\n";
    return text + ":7\r\n";
  };
  CHECK(parse(chain(resp_max_elements)).state == RespState::complete);
  CHECK(parse(chain(resp_max_elements + 1)).state == RespState::malformed);
}

TEST_CASE("what is no reply is malformed") {
  const std::string_view input =
      GENERATE(as<std::string_view>{}, "\r\n", "hello\r\n", "$x\r\n", "$\r\n", "$-2\r\n", "$1x\r\na\r\n", "$1\r\nabc",
               "*-7\r\n", "*10001\r\n", "*1\r\n*10001\r\n", "%5001\r\n", "$99999999999999999999\r\n",
               "$9999999999999999\r\n", "*1\r\nx\r\n", "*2\r\n*1\r\nx\r\n");
  INFO(input);
  CHECK(parse(input).state == RespState::malformed);
}

TEST_CASE("a line without an end is malformed once it is too long to be one") {
  CHECK(parse("+" + std::string(resp_max_line - 1, 'a')).state == RespState::incomplete);
  CHECK(parse("+" + std::string(resp_max_line, 'a')).state == RespState::malformed);
}
