// The largest message that a topic takes: told by its cluster, or found out.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

namespace syncbus::inline v1::detail {

/// Sizes are bytes; `client` is what the producer takes at most. Pure. Thread safety: none.
class KafkaFrameLimit {
 public:
  /// `wanted`: 0: what the client allows.
  explicit KafkaFrameLimit(std::size_t wanted) noexcept : wanted_{wanted}, limit_{wanted} {}

  /// 0: what the client allows.
  [[nodiscard]] std::size_t wanted_now() const noexcept { return limit_; }
  [[nodiscard]] std::size_t of_frames(std::size_t client) const noexcept { return (std::min)(top(limit_), client); }

  /// So much may be under way at once with a producer that may make one batch of it: the topic's limit is one of
  /// batches.
  [[nodiscard]] std::size_t under_way() const noexcept { return top(limit_); }
  /// Whether frames are to be sent one by one at first, so that it is seen which of them is not stored.
  [[nodiscard]] bool one_by_one() const noexcept { return suspects_; }

  /// The topic takes no larger batch.
  void obey(std::size_t max_message_bytes) noexcept {
    limit_ = (std::min)(top(wanted_), within(max_message_bytes));
    knows_topic_ = true;
    suspects_ = guessed_ = false;
  }

  /// So much was refused as too large, or is taken to have been.
  void stay_below(std::size_t bytes, std::size_t client) noexcept {
    limit_ = (std::min)(of_frames(client), (std::max)(smallest, bytes / 2));
  }

  /// A session of somebody who hears no reports ended because `bytes`, more than was ever stored at once, were not
  /// answered, after `stored` had been. Returns whether they are now taken to be too large. Most often the cluster is
  /// in trouble: so only the second time in a row, and never of what any topic takes.
  [[nodiscard]] bool suspect(std::size_t bytes, std::size_t stored, std::size_t client) noexcept {
    if (knows_topic_ || bytes <= smallest) return false;
    const bool again = suspects_ && stored <= much * bytes;
    suspects_ = !again;
    if (!again) return false;
    settled_ = settled_ || grew_;
    grew_ = false;
    guessed_ = true;
    stay_below(bytes, client);
    return true;
  }

  /// A session begins; in the one before so much was stored at once. What was guessed may have been wrong: it is
  /// doubled where that much is needed, until a larger one turns out to be too large once more.
  void grow(std::size_t stored_at_once, std::size_t client) noexcept {
    if (!guessed_ || settled_ || stored_at_once < limit_ / 2) return;
    grew_ = true;
    limit_ *= 2;
    if (limit_ < (std::min)(top(wanted_), client)) return;
    limit_ = wanted_;
    guessed_ = false;
  }

  /// The largest frame within a limit that counts what Kafka wraps around it.
  [[nodiscard]] static constexpr std::size_t within(std::size_t limit) noexcept {
    constexpr std::size_t around = 1'024;
    return limit > 2 * around ? limit - around : limit / 2;
  }

 private:
  static constexpr std::size_t smallest = 4'096;
  static constexpr std::size_t much = 8;

  [[nodiscard]] static constexpr std::size_t top(std::size_t limit) noexcept {
    return limit == 0 ? (std::numeric_limits<std::size_t>::max)() : limit;
  }

  std::size_t wanted_;
  std::size_t limit_;
  bool knows_topic_ = false;
  bool suspects_ = false;
  bool guessed_ = false;
  bool grew_ = false;     // since it was guessed
  bool settled_ = false;  // it was guessed again after it had grown
};

}  // namespace syncbus::inline v1::detail
