// Events and resyncs as lines of text, which tests compare and Catch2 can print.
#pragma once

#include <string>
#include <vector>

#include <syncbus/event.hpp>

namespace support {

using Lines = std::vector<std::string>;

/// Type and key, and the version if there is one: "set user:42 v7".
inline std::string line_of(const syncbus::Event& event) {
  std::string line = std::string{to_string(event.type)} + " " + std::string{event.key};
  if (event.version != 0) line += " v" + std::to_string(event.version);
  return line;
}

/// "resync: interrupted".
inline std::string line_of(const syncbus::Resync& resync) { return "resync: " + std::string{to_string(resync.cause)}; }

}  // namespace support
