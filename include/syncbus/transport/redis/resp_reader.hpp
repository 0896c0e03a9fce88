// Parses the bytes of a Redis server into replies, in one buffer of bounded size. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

#include <syncbus/transport/redis/resp.hpp>

namespace syncbus::inline v1::detail {

/// Use: receive into room(), say how much with added(), then call next() until it wants more. A reply's words are valid
/// until the next room(). A reply longer than `max_reply` bytes is passed over without being kept.
class RespReader {
 public:
  enum class Next : std::uint8_t { reply, more, oversized, malformed };

  /// The buffer has `usual` bytes, and more only while a longer reply is coming in.
  RespReader(std::size_t usual, std::size_t max_reply) : usual_{usual}, max_reply_{max_reply} { resize(usual); }

  /// Where the next bytes go. Never empty.
  [[nodiscard]] std::span<char> room() {
    if (begin_ == end_) {
      begin_ = end_ = 0;
      if (capacity_ != usual_) resize(usual_);
    }
    if (needed_ > capacity_) {
      resize(needed_);
    } else if (begin_ != 0 && (capacity_ - end_ < usual_ / 2 || needed_ > capacity_ - begin_)) {
      std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    return {buffer_.get() + end_, capacity_ - end_};
  }

  /// That many bytes were put at the front of room().
  void added(std::size_t bytes) noexcept {
    end_ += bytes;
    const std::size_t skipped = skip_ < bytes ? skip_ : bytes;
    skip_ -= skipped;
    if (skipped != 0) begin_ += skipped;  // bytes are only skipped when none was waiting
  }

  /// The next complete reply. After `malformed` the stream cannot be understood any more.
  [[nodiscard]] Next next(RespReply& reply) noexcept {
    const std::size_t waiting = end_ - begin_;
    needed_ = 0;
    if (waiting == 0) return Next::more;
    const RespProgress progress = parse_reply({buffer_.get() + begin_, waiting}, reply);
    switch (progress.state) {
      case RespState::complete: begin_ += progress.bytes; return Next::reply;
      case RespState::malformed: return Next::malformed;
      case RespState::incomplete: break;
    }
    if (progress.bytes > max_reply_) {
      skip_ = progress.bytes - waiting;
      begin_ = end_;
      return Next::oversized;
    }
    needed_ = progress.bytes;
    return Next::more;
  }

 private:
  void resize(std::size_t capacity) {
    auto larger = std::make_unique_for_overwrite<char[]>(capacity);
    if (begin_ != end_) std::memcpy(larger.get(), buffer_.get() + begin_, end_ - begin_);
    buffer_ = std::move(larger);
    capacity_ = capacity;
    end_ -= begin_;
    begin_ = 0;
  }

  std::size_t usual_;
  std::size_t max_reply_;
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;  // of what was received and not read yet
  std::size_t end_ = 0;
  std::size_t needed_ = 0;  // least length of the incomplete reply at begin_; 0: unknown
  std::size_t skip_ = 0;    // bytes still to come of an oversized reply
};

}  // namespace syncbus::inline v1::detail
