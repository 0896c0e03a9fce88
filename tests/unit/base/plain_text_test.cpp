// Bytes of others in a log: no key and no exception writes lines there that are not ours.
#include <string>
#include <string_view>

#include <syncbus/base/plain_text.hpp>
#include <syncbus/local/user_log.hpp>

#include "support/catch.hpp"

using namespace std::string_literals;
using syncbus::KeySpace;
using syncbus::detail::beginning_of, syncbus::detail::handler_threw, syncbus::detail::one_line, syncbus::detail::quoted;

TEST_CASE("text of any script stays as it is") {
  for (const std::string text : {"plain", "K\xc3\xa4se \xe2\x82\xac \xf0\x9f\x90\x9d", "a \"quoted\" \\ word", ""}) {
    CHECK(one_line(text) == text);
  }
}

TEST_CASE("what ends a line or moves the cursor is written in hexadecimal") {
  CHECK(one_line("a\nb\r\tc\x1b[2J\x7f"s + '\0') == "a\\x0ab\\x0d\\x09c\\x1b[2J\\x7f\\x00");
  CHECK(one_line("\xc2\x85 \xe2\x80\xa8 \xe2\x80\xa9") == "\\xc2\\x85 \\xe2\\x80\\xa8 \\xe2\\x80\\xa9");
}

TEST_CASE("what turns the text around it is written in hexadecimal") {
  CHECK(one_line("\xe2\x80\xae" "a\xe2\x81\xa6") == "\\xe2\\x80\\xae" "a\\xe2\\x81\\xa6");
}

TEST_CASE("bytes that are no UTF-8 are written in hexadecimal, each") {
  CHECK(one_line("\xff\x80") == "\\xff\\x80");
  CHECK(one_line("\xc3") == "\\xc3");                          // cut off
  CHECK(one_line("\xc0\x8a") == "\\xc0\\x8a");                  // a line end, the long way
  CHECK(one_line("\xe0\x80\x8a") == "\\xe0\\x80\\x8a");
  CHECK(one_line("\xed\xa0\x80") == "\\xed\\xa0\\x80");          // half of a pair
  CHECK(one_line("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");  // beyond the last character
  CHECK(one_line("\xc3\nb") == "\\xc3\\x0ab");
}

TEST_CASE("nothing between quotes ends them") {
  CHECK(quoted("k\" threw: \\x0a", 64) == "\"k\\x22 threw: \\x5cx0a\"");
}

TEST_CASE("a long text is cut between two characters") {
  CHECK(beginning_of("abc", 3) == "abc");
  CHECK(beginning_of("abcd", 3) == "abc...");
  CHECK(beginning_of("ab\xe2\x82\xac" "cd", 3) == "ab\xe2\x82\xac...");
}

TEST_CASE("the line about a handler that threw says what it is subscribed to") {
  CHECK(handler_threw(KeySpace::key, "k", "no luck") == "the handler subscribed to \"k\" threw: no luck");
  CHECK(handler_threw(KeySpace::prefix, "user:", "x") == "the handler subscribed to the prefix \"user:\" threw: x");
  CHECK(handler_threw(KeySpace::prefix, "", "x") == "the handler subscribed to all keys threw: x");
  CHECK(handler_threw(KeySpace::lease, "id", "x") == "the handler subscribed to the lease \"id\" threw: x");
  CHECK(handler_threw(KeySpace::key, std::string(100, 'k'), std::string(1'000'000, 'w')).size() < 700);
}
