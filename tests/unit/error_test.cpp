// The texts of error codes, and of what a session failed of.
#include <cerrno>
#include <string>
#include <string_view>
#include <system_error>

#include <syncbus/error.hpp>
#include <syncbus/transport/session/session_error.hpp>

#include "support/catch.hpp"

using syncbus::Errc;

TEST_CASE("the text of a code that a sentence comes with blames nothing and nobody") {
  const std::string sentence = "the Redis server refused to begin: LOADING Redis is loading the dataset in memory";
  CHECK(std::system_error{Errc::not_connected, sentence}.what() ==
        sentence + ": this node is not connected to its broker");
  for (const Errc code : {Errc::invalid_argument, Errc::not_connected, Errc::permission_denied,
                          Errc::transport_failure}) {
    const std::string text = std::error_code{code}.message();
    INFO(text);
    for (const std::string_view reason : {"check", "reached", "address", "password", "range"}) {
      CHECK(text.find(reason) == std::string::npos);
    }
  }
}

TEST_CASE("every code has a text") {
  for (int code = 1; code <= static_cast<int>(Errc::transport_failure); ++code) {
    CHECK(std::error_code{code, syncbus::error_category()}.message() != "unknown syncbus error");
  }
  CHECK(std::error_code{0, syncbus::error_category()}.message() == "unknown syncbus error");
}

TEST_CASE("who has no descriptor to connect with is told whose limit to raise, once") {
  using namespace syncbus::detail;
  const auto told = [](const std::string& sentence) {
    return unless_without_descriptors({Errc::not_connected, sentence}).sentence;
  };
  CHECK(told("refused") == "refused");
  for (const int error : {EMFILE, ENFILE}) {
    const std::string text = std::generic_category().message(error);
    const std::string sentence = told(text);
    CHECK(sentence.starts_with(advice_without_descriptor(error)));
    CHECK(sentence.ends_with(text + ")"));
    CHECK(told(sentence) == sentence);
  }
}
