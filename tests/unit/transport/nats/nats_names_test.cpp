// What is read and written as text on the way to NATS: URLs of servers, subjects, the mark of an own frame, greetings.
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <syncbus/transport/nats/echo_tag.hpp>
#include <syncbus/transport/nats/nats_info.hpp>
#include <syncbus/transport/nats/nats_servers.hpp>
#include <syncbus/transport/nats/nats_subject.hpp>
#include <syncbus/transport/nats/nats_url.hpp>
#include <syncbus/transport/nats/nats_words.hpp>

#include "support/catch.hpp"

using syncbus::Errc, syncbus::NodeId;
using syncbus::detail::direct_nats_subject, syncbus::detail::explain_nats, syncbus::detail::fault_of_nats_subject,
    syncbus::detail::EchoTag, syncbus::detail::is_without_cluster, syncbus::detail::NatsServers,
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

/// The addresses of the next few servers to be tried.
std::vector<std::string> next_of(NatsServers& servers, std::size_t count) {
  std::vector<std::string> addresses;
  while (addresses.size() != count) addresses.push_back(servers.next().address());
  return addresses;
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

TEST_CASE("a delimiter in a password of a NATS URL is refused with the way to write it") {
  std::string sentence;
  try {
    static_cast<void>(syncbus::detail::parse_nats_urls("nats://u:s3c/ret@host"));
  } catch (const std::system_error& error) {
    sentence = error.what();
  }
  CHECK(sentence.find("percent-encoded (%2F, %3F, %23)") != std::string::npos);
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
  const EchoTag mark{NodeId{7}, 2}, other_node{NodeId{8}, 2}, other_session{NodeId{7}, 3};
  EchoTag::Buffer buffer;
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

TEST_CASE("NATS servers are tried in turn: the given ones in their order, then those that were announced") {
  NatsServers servers{parse_nats_urls("nats://u:p@a,nats://b"), 1};
  CHECK(next_of(servers, 3) == std::vector<std::string>{"a:4222", "b:4222", "a:4222"});
  const NatsUrl at = parse_nats_urls("nats://u:p@a")[0];
  servers.announce({"nats://b:4222", "nats://c:1", "nats://d:2", "nats://[::1]:3", "nonsense", "nats://c:1"}, at);
  CHECK(servers.size() == 5);
  const auto next = next_of(servers, 4);
  CHECK(next[0] == "b:4222");
  CHECK(std::set<std::string>(next.begin() + 1, next.end()) == std::set<std::string>{"c:1", "d:2", "[::1]:3"});
  CHECK(next_of(servers, 1)[0] == "a:4222");

  servers.announce({"nats://b:4222", "nats://d:2"}, at);
  const NatsUrl d = (next_of(servers, 1), servers.next());
  CHECK(d.address() == "d:2");
  CHECK(d.user == "u");
  CHECK(d.password == "p");
  servers.announce({}, at);  // says nothing
  CHECK(servers.size() == 3);
  servers.announce({"nats://a:4222", "nats://e:5"}, d);  // whose session it is stays
  CHECK(next_of(servers, 3) == std::vector<std::string>{"e:5", "a:4222", "b:4222"});
}

TEST_CASE("nodes that lose one NATS server spread over those that it announced") {
  std::set<std::string> first;
  for (std::uint64_t seed = 0; seed != 30; ++seed) {
    NatsServers servers{parse_nats_urls("nats://a"), seed};
    static_cast<void>(servers.next());
    servers.announce({"nats://b:1", "nats://c:1", "nats://d:1"}, parse_nats_urls("nats://a")[0]);
    first.insert(servers.next().address());
  }
  CHECK(first.size() == 3);
}

TEST_CASE("a NATS server may announce many others, and no more than a bound is kept") {
  NatsServers servers{parse_nats_urls("nats://a"), 1};
  std::vector<std::string> many;
  for (int port = 1; port != 2'000; ++port) many.push_back("nats://b:" + std::to_string(port));
  servers.announce(many, parse_nats_urls("nats://a")[0]);
  CHECK(servers.size() == NatsServers::max_announced + 1);
}

TEST_CASE("what a NATS server says of the end of a connection becomes what to do, however it is written") {
  const auto full = explain_nats("the server", "'Maximum Connections Exceeded'");
  CHECK(full.code == Errc::not_connected);
  CHECK(full.sentence == "the server has as many connections as it allows: raise its max_connections, or close some");
  CHECK(explain_nats("the server", "Authorization Violation").code == Errc::permission_denied);
  CHECK(explain_nats("the server", "'Authentication Timeout'").code == Errc::not_connected);  // it had not been asked yet
  CHECK(explain_nats("the server", "'User Authentication Expired'").code == Errc::permission_denied);
  CHECK(explain_nats("it", "Connection Closed").sentence ==
        "lost the connection to it: it ended, closed it, or the network did");
  CHECK(explain_nats("it", "an odd word").sentence ==
        "lost the connection to it: it ended, closed it, or the network did (an odd word)");
}

TEST_CASE("a NATS server is without a cluster that says who it is, and nothing of one") {
  const auto info = [](const std::string& members) { return "INFO {" + members + ",\"headers\":true}\r\n"; };
  CHECK(is_without_cluster(info(R"("server_id":"NA7","server_name":"cluster","port":4222)"), "NA7"));
  CHECK(is_without_cluster(info(R"("server_name":"a \"cluster\":\"b\"", "server_id" : "NA7")"), "NA7"));
  CHECK_FALSE(is_without_cluster(info(R"("server_id":"NA7","cluster":"several")"), "NA7"));
  CHECK_FALSE(is_without_cluster(info(R"("cluster" : "several", "server_id":"NA7")"), "NA7"));
  CHECK_FALSE(is_without_cluster(info(R"("server_id":"NA8")"), "NA7"));  // another one behind the same address
  CHECK_FALSE(is_without_cluster(info(R"("server_id":"NA77")"), "NA7"));
  CHECK_FALSE(is_without_cluster(info(R"("server_id":"NA7")"), ""));
  CHECK_FALSE(is_without_cluster(info(R"("server_id":7)"), "NA7"));
  CHECK_FALSE(is_without_cluster(info(R"("port":4222)"), "NA7"));
  CHECK_FALSE(is_without_cluster("INFO {\"server_id\":\"NA7\"}\r\n", "NA7"));  // so old that it would not say
  CHECK_FALSE(is_without_cluster(R"(INFO {"server_id":"NA7",)", "NA7"));  // not all has come
  CHECK_FALSE(is_without_cluster("-ERR 'maximum connections exceeded'\r\n", "NA7"));
  CHECK_FALSE(is_without_cluster("", "NA7"));
}
