// A sink that keeps what a transport tells it, for tests that have a transport alone.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <syncbus/transport.hpp>

#include "support/eventually.hpp"
#include "support/frames.hpp"

namespace support {

class Recorder : public syncbus::TransportSink {
 public:
  struct Problem {
    std::error_code code;
    std::string sentence;
  };

  void on_frame(syncbus::Bytes bytes) noexcept override {
    const std::lock_guard lock{mutex_};
    frames_.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void on_confirmed(syncbus::BroadcastToken token) noexcept override {
    const std::lock_guard lock{mutex_};
    in_order_ = in_order_ && confirmed_ < token && token.session == session_;
    confirmed_ = token;
  }
  void on_interrupted() noexcept override {
    const std::lock_guard lock{mutex_};
    in_order_ = in_order_ && ready_;
    ready_ = false;
    ++interruptions_;
  }
  void on_lost() noexcept override {
    const std::lock_guard lock{mutex_};
    in_order_ = in_order_ && !ready_;
    ++losses_;
  }
  void on_moved() noexcept override {
    on_lost();
    const std::lock_guard lock{mutex_};
    ++moves_;
  }
  void on_place(std::uint64_t place) noexcept override {
    const std::lock_guard lock{mutex_};
    place_ = place;
  }
  void on_ready(std::uint64_t session, std::size_t max_frame_bytes) noexcept override {
    const std::lock_guard lock{mutex_};
    in_order_ = in_order_ && !ready_ && session == session_ + 1;
    ready_ = true;
    session_ = session;
    max_frame_bytes_ = max_frame_bytes;
  }
  void on_problem(std::error_code code, std::string_view sentence) noexcept override {
    const std::lock_guard lock{mutex_};
    problems_.push_back({code, std::string{sentence}});
  }

  [[nodiscard]] std::vector<std::string> frames() const { return read(frames_); }
  [[nodiscard]] syncbus::BroadcastToken confirmed() const { return read(confirmed_); }
  [[nodiscard]] int interruptions() const { return read(interruptions_); }
  [[nodiscard]] int losses() const { return read(losses_); }
  [[nodiscard]] int moves() const { return read(moves_); }
  [[nodiscard]] std::uint64_t session() const { return read(session_); }
  [[nodiscard]] std::uint64_t place() const { return read(place_); }
  [[nodiscard]] bool ready() const { return read(ready_); }
  [[nodiscard]] std::size_t max_frame_bytes() const { return read(max_frame_bytes_); }
  [[nodiscard]] std::vector<Problem> problems() const { return read(problems_); }

  /// Whether sessions, interruptions and confirmations came as the rules of Transport say.
  [[nodiscard]] bool in_order() const { return read(in_order_); }

  [[nodiscard]] std::size_t frame_count() const {
    const std::lock_guard lock{mutex_};
    return frames_.size();
  }
  [[nodiscard]] bool heard(std::string_view frame) const {
    const std::lock_guard lock{mutex_};
    return std::find(frames_.begin(), frames_.end(), frame) != frames_.end();
  }
  [[nodiscard]] bool will_hear(std::string_view frame) const {
    return support::eventually([&] { return heard(frame); });
  }
  [[nodiscard]] bool will_confirm(syncbus::BroadcastToken token) const {
    return support::eventually([&] { return confirmed() == token; });
  }
  [[nodiscard]] bool will_be_ready(std::uint64_t session) const {
    return support::eventually([&] { return ready() && this->session() == session; });
  }

 private:
  template <class Member>
  [[nodiscard]] Member read(const Member& member) const {
    const std::lock_guard lock{mutex_};
    return member;
  }

  mutable std::mutex mutex_;
  std::vector<std::string> frames_;
  std::vector<Problem> problems_;
  syncbus::BroadcastToken confirmed_{};
  std::uint64_t session_ = 0;
  std::uint64_t place_ = 0;
  std::size_t max_frame_bytes_ = 0;
  int interruptions_ = 0;
  int losses_ = 0;
  int moves_ = 0;
  bool ready_ = false;
  bool in_order_ = true;
};

/// The thread that delivers can be held in a call, so that what happens meanwhile is found at once afterwards.
class HeldRecorder : public Recorder {
 public:
  ~HeldRecorder() { release(); }

  void on_frame(syncbus::Bytes bytes) noexcept override {
    Recorder::on_frame(bytes);
    held.wait(true);
  }
  void release() noexcept {
    held = false;
    held.notify_all();
  }

  std::atomic<bool> held = false;
};

}  // namespace support
