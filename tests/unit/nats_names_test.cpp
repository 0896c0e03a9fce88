// What is read and written as text on the way to NATS: URLs of servers, subjects, the mark of an own frame.
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

#include <syncbus/detail/frame_mark.hpp>
#include <syncbus/detail/nats_subject.hpp>
#include <syncbus/detail/nats_url.hpp>

#include "support/catch.hpp"

using syncbus::Errc, syncbus::NodeId;
using syncbus::detail::direct_nats_subject, syncbus::detail::fault_of_nats_subject, syncbus::detail::FrameMark,
    syncbus::detail::NatsUrl, syncbus::detail::parse_nats_urls;

namespace {

/// The sentence with which the URL is refused; empty if it is accepted.
std::string refusal(std::string_view url) {
  try {
    static_cast<void>(parse_nats_urls(url));
  } catch (const std::system_error& error) {
    CHECK(error.code() == Errc::invalid_argument);
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("a NATS host alone means port 4222 and nobody in particular") {
  const auto urls = parse_nats_urls("nats://cache.example");
  REQUIRE(urls.size() == 1);
  CHECK(urls[0].address() == "cache.example:4222");
  CHECK(urls[0].user.empty());
  CHECK_FALSE(urls[0].password);
}

TEST_CASE("a NATS user or password that the client would write otherwise than it is, is refused and not shown") {
  for (const std::string_view bad : {"a%00x", "a%22", "a%5c", "a%0a", "%7f"}) {
    for (const std::string& url :
         {"nats://" + std::string{bad} + ":s3cret@h", "nats://u:s3cret" + std::string{bad} + "@h"}) {
      INFO(url);
      const std::string sentence = refusal(url);
      CHECK(sentence.find("pass a natsConnection") != std::string::npos);
      CHECK(sentence.find("s3cret") == std::string::npos);
    }
  }
  CHECK(refusal("nats://u%20v:p%20w%C3%BC@h").empty());
}

TEST_CASE("every part of several NATS URLs is read") {
  const auto urls =
      parse_nats_urls("nats://alice:s%40cret@10.0.0.7:7001,nats://t0ken@[2001:db8::7]:6000/,nats://[::1]");
  REQUIRE(urls.size() == 3);
  CHECK(urls[0].address() == "10.0.0.7:7001");
  CHECK(urls[0].user == "alice");
  CHECK(urls[0].password == "s@cret");
  CHECK(urls[1].address() == "[2001:db8::7]:6000");
  CHECK(urls[1].user == "t0ken");
  CHECK_FALSE(urls[1].password);
  CHECK(urls[2].address() == "[::1]:4222");
}

TEST_CASE("a wrong NATS URL is refused with what is wrong, never with a password") {
  CHECK(refusal("redis://host").find("nats://") != std::string::npos);
  CHECK(refusal("tls://host").find("natsOptions_SetSecure") != std::string::npos);
  CHECK(refusal("nats://u:s3cret@host:99999").find("port") != std::string::npos);
  CHECK(refusal("nats://u:s3cret@host:99999").find("s3cret") == std::string::npos);
  CHECK(refusal("nats://:s3cret@host").find("user") != std::string::npos);
  for (const std::string_view url : {"", "nats://", "nats://a,", ",nats://a", "nats://a:0", "nats://a/b", "nats://a?b",
                                     "nats://a b", "nats://::1", "nats://[::1", "nats://%4@a"}) {
    INFO(url);
    CHECK_FALSE(refusal(url).empty());
  }
}

TEST_CASE("a subject is tokens between dots, without wildcards or blanks") {
  for (const std::string_view good : {"a", "a.b", "warp.events-2_x", "\xc3\xbc", "a.direct.b", "a$b"}) {
    INFO(good);
    CHECK(fault_of_nats_subject(good) == nullptr);
  }
  for (const std::string_view bad : {"", ".", "a.", ".a", "a..b", "a b", "a\n", "a*", "*", "a.>", ">", "$JS.x"}) {
    INFO(bad);
    CHECK(fault_of_nats_subject(bad) != nullptr);
  }
  CHECK(direct_nats_subject("a.b", NodeId{0xab}) == "a.b.direct.00000000000000ab");
}

TEST_CASE("the mark of an own broadcast is known again in its session, and no other is") {
  const FrameMark mark{NodeId{7}, 2}, other_node{NodeId{8}, 2}, other_session{NodeId{7}, 3};
  FrameMark::Buffer buffer;
  for (const std::uint64_t serial : {std::uint64_t{0}, std::uint64_t{1}, UINT64_MAX}) {
    const std::string_view written{mark.write(buffer, serial)};
    CHECK(mark.serial_of(written) == serial);
    CHECK_FALSE(other_node.serial_of(written));
    CHECK_FALSE(other_session.serial_of(written));
  }
  const std::string begin = "_syncbus.0000000000000007.2";
  for (const std::string& foreign : {std::string{}, std::string{"_syncbus."}, begin, begin + ".", begin + ".x",
                                     begin + ".1x", std::string{"_INBOX.a"}}) {
    CHECK_FALSE(mark.serial_of(foreign));
  }
}
