// The queue between publishers, who may not block, and the sender thread of a NATS transport, which may.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/base/fifo.hpp>
#include <syncbus/base/time.hpp>
#include <syncbus/transport.hpp>

namespace syncbus::inline v1::detail {

/// Puts frames on a connection.
class NatsWriter {
 public:
  /// False if the connection is broken. Broadcasts of a session have serials, from 1.
  [[nodiscard]] virtual bool write_broadcast(Bytes bytes, std::uint64_t serial) noexcept = 0;
  [[nodiscard]] virtual bool write_direct(const char* subject, Bytes bytes) noexcept = 0;

 protected:
  ~NatsWriter() = default;
};

/// Copies of frames, in order: filled by publishers, taken as a whole by the sender. Without an allocation once it is
/// as large as it gets: two buffers change places. It remembers which broadcasts of the session the server has not
/// taken yet.
///
/// On a connection of our own, publishers write small frames themselves while the sender is idle: that saves a change
/// of threads. It cannot block: no other thread of ours is in the client, the client's own write next to nothing, and
/// what the server may not have read yet is always less than the smallest buffer of a socket.
class NatsOutbox {
 public:
  /// Directed frames are dropped when so many bytes wait: nobody promised them.
  static constexpr std::size_t max_waiting = std::size_t{4} << 20U;

  /// A subject of its own and a zero behind it are before the bytes of a directed frame.
  struct Frame {
    std::size_t subject_bytes = 0;  ///< none: a broadcast
    std::size_t at = 0;
    std::size_t bytes = 0;
    std::uint64_t serial = 0;
  };

  /// What the sender took.
  class Batch {
   public:
    [[nodiscard]] const std::vector<Frame>& frames() const noexcept { return frames_; }

    /// Of a directed frame; zero-terminated.
    [[nodiscard]] const char* subject(const Frame& frame) const noexcept {
      return reinterpret_cast<const char*>(bytes_.data() + frame.at);
    }
    [[nodiscard]] Bytes bytes(const Frame& frame) const noexcept {
      return Bytes{bytes_}.subspan(frame.at + frame.subject_bytes, frame.bytes);
    }

   private:
    friend class NatsOutbox;

    void clear() noexcept {
      frames_.clear();
      bytes_.clear();
    }
    void append(std::string_view subject, Bytes bytes, std::uint64_t serial) {
      const std::size_t at = bytes_.size();
      const std::size_t subject_bytes = subject.empty() ? 0 : subject.size() + 1;
      if (!subject.empty()) {
        const Bytes name = std::as_bytes(std::span{subject});
        bytes_.insert(bytes_.end(), name.begin(), name.end());
        bytes_.push_back(std::byte{0});
      }
      bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
      frames_.push_back({subject_bytes, at, bytes.size(), serial});
    }

    std::vector<Frame> frames_;
    std::vector<std::byte> bytes_;
  };

  /// From here on frames of this session are taken in, and none that came before goes out. `own`, if given, is what
  /// publishers may use. Sender.
  void start(std::uint64_t session, NatsWriter* own) noexcept {
    const std::lock_guard lock{mutex_};
    waiting_.clear();
    session_ = session;
    own_ = own;
    untaken_.clear();
    serials_ = taken_ = 0;
    handed_bytes_ = read_bytes_ = 0;
  }

  /// Nothing is taken in, what waits is gone, and no publisher writes.
  void stop() noexcept { start(0, nullptr); }

  void broadcast(Bytes bytes, BroadcastToken token) {
    const std::lock_guard lock{mutex_};
    if (token.session != session_ || session_ == 0) return;
    const bool direct = may_write(bytes);
    handed_bytes_ += cost_of(bytes);
    untaken_.push({token.frame, handed_bytes_});  // first: it may be back before the write returns
    const std::uint64_t serial = ++serials_;
    if (!direct || !own_->write_broadcast(bytes, serial)) wait_with(std::string_view{}, bytes, serial);
  }

  void send(const std::string& subject, Bytes bytes) {
    const std::lock_guard lock{mutex_};
    if (session_ == 0 || waiting_.bytes_.size() > max_waiting) return;
    const bool direct = may_write(bytes);
    handed_bytes_ += cost_of(bytes);
    if (!direct || !own_->write_direct(subject.c_str(), bytes)) wait_with(subject, bytes, 0);
  }

  // --- what the server has

  struct Returned {
    std::optional<std::uint64_t> frame{};  ///< of the token: the server has it, and all before
    bool gap = false;                      ///< one before it has not come back, and will not
  };

  /// The broadcast of this serial, and that session, has come back.
  [[nodiscard]] Returned returned(std::uint64_t session, std::uint64_t serial) noexcept {
    const std::lock_guard lock{mutex_};
    if (session != session_ || serial <= taken_ || serial > serials_) return {};  // no word of ours, or a late one
    if (serial != taken_ + 1) return {.frame = std::nullopt, .gap = true};
    return {.frame = take_oldest()};
  }

  /// The server has said that it took everything up to this serial: the frame of the last, if any is news.
  [[nodiscard]] std::optional<std::uint64_t> taken_up_to(std::uint64_t serial) noexcept {
    const std::lock_guard lock{mutex_};
    std::optional<std::uint64_t> frame;
    while (taken_ < serial && !untaken_.empty()) frame = take_oldest();
    return frame;
  }

  /// The last serial up to which the server has everything.
  [[nodiscard]] std::uint64_t taken() const noexcept {
    const std::lock_guard lock{mutex_};
    return taken_;
  }

  /// Ends a take() that waits, or the next one.
  void wake() noexcept {
    const std::lock_guard lock{mutex_};
    woken_ = true;
    changed_.notify_one();
  }

  /// All frames, or none: after a wake(), or at the deadline. Sender.
  void take(Batch& batch, TimePoint deadline) noexcept {
    batch.clear();
    std::unique_lock lock{mutex_};
    sender_waits_ = true;
    changed_.wait_until(lock, deadline, [this] { return woken_ || !waiting_.frames_.empty(); });
    sender_waits_ = false;
    woken_ = false;
    std::swap(batch, waiting_);
  }

 private:
  /// What publishers may have unread at the server, in bytes.
  static constexpr std::size_t max_unread = std::size_t{16} << 10U;

  /// What travels beside a frame's own bytes: the protocol's words, two subjects.
  static constexpr std::size_t overhead = 512;

  /// A broadcast that was handed over.
  struct Untaken {
    std::uint64_t frame = 0;
    std::uint64_t handed_bytes = 0;  ///< in this session, up to its own
  };

  [[nodiscard]] static std::size_t cost_of(Bytes bytes) noexcept { return bytes.size() + overhead; }

  std::uint64_t take_oldest() noexcept {
    const Untaken oldest = untaken_.front();
    untaken_.pop();
    ++taken_;
    read_bytes_ = oldest.handed_bytes;
    return oldest.frame;
  }

  [[nodiscard]] bool may_write(Bytes bytes) const noexcept {
    return own_ != nullptr && sender_waits_ && waiting_.frames_.empty() &&
           handed_bytes_ - read_bytes_ + cost_of(bytes) <= max_unread;
  }

  void wait_with(std::string_view subject, Bytes bytes, std::uint64_t serial) {
    waiting_.append(subject, bytes, serial);
    if (sender_waits_) changed_.notify_one();
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Batch waiting_;
  std::uint64_t session_ = 0;  // 0: none
  NatsWriter* own_ = nullptr;
  Fifo<Untaken> untaken_;
  std::uint64_t serials_ = 0;       // of broadcasts handed over in this session
  std::uint64_t taken_ = 0;         // of them
  std::uint64_t handed_bytes_ = 0;  // of all frames of this session, with what travels beside them
  std::uint64_t read_bytes_ = 0;    // of these, so many at least the server has read
  bool sender_waits_ = false;
  bool woken_ = false;
};

}  // namespace syncbus::inline v1::detail
