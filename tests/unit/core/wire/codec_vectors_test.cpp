// The codec against its test vectors: files that were not written by it.
#include <cstddef>
#include <span>
#include <vector>

#include <syncbus/core/wire/codec.hpp>

#include "fuzz/codec_check.hpp"
#include "support/catch.hpp"
#include "support/vector_file.hpp"

namespace {

namespace core = syncbus::core;
using support::VectorFile;

const std::vector<VectorFile>& vectors() {
  static const std::vector<VectorFile> all = support::read_vectors(SYNCBUS_TEST_VECTORS);
  return all;
}

core::FrameError header_error(syncbus::Bytes frame) {
  core::FrameHeader header;
  return core::decode_header(frame, header);
}

/// In memory of exactly its size, so that a sanitizer sees every read beyond it.
bool rejected(syncbus::Bytes frame) {
  const std::vector<std::byte> exact(frame.begin(), frame.end());
  return header_error(exact) == core::FrameError::malformed;
}

}  // namespace

TEST_CASE("every test vector decodes to what its file says", "[codec]") {
  for (const VectorFile& vector : vectors()) {
    INFO(vector.name);
    CHECK(support::text_of(vector.frame) == vector.text);
    CHECK(support::contradiction(vector.frame) == nullptr);
  }
}

TEST_CASE("there are test vectors of every frame type and variant", "[codec]") {
  for (const char* const name :
       {"events_every_kind", "events_every_cause", "events_unknown_kind.foreign", "events_fields.foreign",
        "heartbeat_hello", "heartbeat_goodbye", "heartbeat_publish_only", "heartbeat_extremes",
        "acknowledgement_every_status", "acknowledgement_merged", "acknowledgement_request", "repair_request",
        "repair_directed", "repair_broadcast", "other_version_next", "malformed_checksum"}) {
    INFO(name);
    CHECK(std::any_of(vectors().begin(), vectors().end(),
                      [&](const VectorFile& vector) { return vector.name == std::string{name} + ".hex"; }));
  }
  CHECK(vectors().size() >= 99);
}

TEST_CASE("the encoders write the test vectors byte for byte", "[codec]") {
  for (const VectorFile& vector : vectors()) {
    if (vector.foreign() || vector.malformed() || vector.other_version()) continue;
    INFO(vector.name);
    CHECK(support::reencode(vector.frame, vector.frame.size()) == vector.frame);
  }
}

TEST_CASE("every truncation of every test vector is rejected", "[codec]") {
  for (const VectorFile& vector : vectors()) {
    INFO(vector.name);
    std::size_t accepted = 0;
    for (std::size_t size = 0; size != vector.frame.size(); ++size) {
      accepted += !rejected(syncbus::Bytes{vector.frame}.first(size));
    }
    CHECK(accepted == 0);
  }
}

TEST_CASE("every single bit flip of every test vector is rejected", "[codec]") {
  for (const VectorFile& vector : vectors()) {
    if (vector.name == "malformed_checksum.hex" || vector.name == "malformed_magic.hex") continue;  // a flip mends them
    INFO(vector.name);
    std::vector<std::byte> frame = vector.frame;
    std::size_t accepted = 0;
    for (std::size_t bit = 0; bit != 8 * frame.size(); ++bit) {
      const auto mask = static_cast<std::byte>(1U << (bit % 8));
      frame[bit / 8] ^= mask;
      accepted += !rejected(frame);
      frame[bit / 8] ^= mask;
    }
    CHECK(accepted == 0);
  }
}

TEST_CASE("a byte behind a test vector is rejected", "[codec]") {
  for (const VectorFile& vector : vectors()) {
    INFO(vector.name);
    std::vector<std::byte> frame = vector.frame;
    for (const unsigned byte : {0x00U, 0x01U, 0x80U, 0xFFU}) {
      frame.push_back(static_cast<std::byte>(byte));
      CHECK(rejected(frame));
      frame.pop_back();
    }
  }
}

TEST_CASE("a truncation or a bit flip under a right checksum never makes the codec contradict itself", "[codec]") {
  for (const VectorFile& vector : vectors()) {
    INFO(vector.name);
    std::vector<std::byte> frame = vector.frame;
    for (std::size_t size = core::header_bytes; size < frame.size(); ++size) {
      CHECK(support::contradiction_with_checksums(syncbus::Bytes{frame}.first(size)) == nullptr);
    }
    std::size_t contradictions = 0;
    for (std::size_t bit = 8 * core::type_offset; bit != 8 * (std::min)(frame.size(), std::size_t{120}); ++bit) {
      const auto mask = static_cast<std::byte>(1U << (bit % 8));
      frame[bit / 8] ^= mask;
      contradictions += support::contradiction_with_checksums(frame) != nullptr;
      frame[bit / 8] ^= mask;
    }
    CHECK(contradictions == 0);
  }
}
