// Joins a channel: sends hellos until a welcome has come, or until it is certain enough that nobody is there.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include <syncbus/base/time.hpp>
#include <syncbus/core/wire/welcome_frame.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::core {

/// A node says hello once; without a welcome within a window (four round trips, at least 10 ms) again, and then more
/// peers answer (see Greeter). With neither a welcome nor anybody else after two windows it is the first.
///
/// Of many that begin at once, where nobody is yet, one becomes the first and welcomes all others: the one whose hello
/// came first, because it has heard the hellos of all others. A node *yields* to a node whose hello lies before its own
/// in the order in which hellos arrive; also when it learns of that by a second hello, having begun too late for the
/// first. Then it waits for that node's welcome, and says nothing more. A node that has heard others and yields to none
/// repeats its hello at a random time after half of its window: so of three hundred nodes a few repeat theirs, not all.
///
/// Without one order for all two may yield to each other, or their first may die: after a few windows they speak again.
class Joining {
 public:
  /// How long a window is at least.
  static constexpr Duration least_window = std::chrono::milliseconds{10};

  /// `receives`: the node can be answered; one that cannot has joined from the beginning.
  explicit Joining(bool receives) noexcept : joined_{!receives} {}

  /// Whether it has joined, once for all: later sessions need no welcome.
  [[nodiscard]] bool joined() const noexcept { return joined_; }
  void join() noexcept { joined_ = true; }

  /// The hello of which it is now, 1, 2, 3 …; 0: it says none any more.
  [[nodiscard]] std::uint64_t attempt() const noexcept { return joined_ ? 0 : attempt_; }

  void begin_session() noexcept {
    if (joined_) return;
    ++attempt_;  // the first, or one for who has heard the last in vain
    windows_ = waits_ = 0;
    returned_ = yields_ = half_over_ = false;
    others_ = 0;
  }

  /// The first hello of this session has come back: nodes whose first hello comes from now on are behind us.
  void hello_returned() noexcept { returned_ = true; }

  /// Another that joins, and could welcome us later, said its hello; `attempt`: that is the first we heard of it.
  void other_hello(std::uint64_t attempt) noexcept {
    ++others_;
    yields_ = yields_ || attempt > 1 || !returned_;
  }

  enum class Next : std::uint8_t { half, rest, hello, wait, first };

  /// The random time that follows the first half of a `window`: so short that the one that all yield to speaks before
  /// another can take itself for the first. It is cut into log n parts, each twice as likely as the one before it: of n
  /// that begin together one or two speak early, and few more before these are heard.
  [[nodiscard]] Duration rest(Duration window, std::uint64_t random) const noexcept {
    const Duration longest = std::clamp(for_others(), window / 2, window * 3 / 4);
    const int parts = 1 + (std::min)(static_cast<int>(std::bit_width(others_)), 15);
    const Duration part = longest / parts;
    const auto within = static_cast<Duration::rep>((random >> 16U) % 1'024);
    return longest - part * (std::min)(1 + std::countr_zero(random), parts) + part * within / 1'024;
  }

  /// A window, or the first half of the first one, has ended without a welcome: what comes next. *half*: the other
  /// half, *rest*: a random part of it. `others`: somebody was heard who had joined before.
  [[nodiscard]] Next window_over(bool others) noexcept {
    constexpr unsigned most_waits = 3, windows = 2, windows_among_others = 6, most_windows = 12;
    if (!std::exchange(half_over_, true)) return others_ != 0 && !yields_ ? Next::rest : Next::half;
    if (++windows_ >= most_windows) return Next::first;
    if (yields_ && ++waits_ <= most_waits) return Next::wait;
    yields_ = false;
    const bool spoken = std::exchange(waits_, 0) == 0;  // in this window it has
    if (spoken && windows_ >= (others ? windows_among_others : windows)) return Next::first;
    ++attempt_;
    return Next::hello;
  }

  /// A frame of a welcome came, which is to us or `names_us`. Returns whether that welcome has come whole now. A
  /// welcome to all may be from a node that has not heard of us.
  [[nodiscard]] bool has_whole(NodeId from, const WelcomeView& frame, bool names_us) {
    const auto known = std::ranges::find_if(welcomes_, [&](const Welcome& welcome) {
      return welcome.from == from && welcome.number == frame.number() && welcome.came.size() == frame.parts();
    });
    Welcome& welcome = known != welcomes_.end() ? *known : welcomes_[next_++ % welcomes_.size()];
    if (known == welcomes_.end()) {
      welcome = {from, frame.number(), 0, false, std::vector<bool>(frame.parts())};
    }
    if (!welcome.came[frame.part()]) ++welcome.parts;
    welcome.came[frame.part()] = true;
    welcome.names_us = welcome.names_us || names_us;
    return welcome.names_us && welcome.parts == frame.parts();
  }

  /// Hardly any will come any more.
  void forget_frames() noexcept { welcomes_ = {}; }

 private:
  struct Welcome {
    NodeId from{};
    std::uint64_t number = 0;
    std::size_t parts = 0;  ///< that came
    bool names_us = false;
    std::vector<bool> came{};
  };

  [[nodiscard]] Duration for_others() const noexcept {
    constexpr Duration for_each = std::chrono::microseconds{100};
    return for_each * static_cast<Duration::rep>((std::min)(others_, std::size_t{1'000}));
  }

  bool joined_;
  std::uint64_t attempt_ = 0;
  unsigned windows_ = 0;  // of this session
  unsigned waits_ = 0;    // of them, those in which it has yielded, since its last hello
  bool returned_ = false;
  bool yields_ = false;
  std::size_t others_ = 0;  // whose first hello came in this session
  bool half_over_ = false;
  std::array<Welcome, 4> welcomes_{};  // of several peers at once
  std::size_t next_ = 0;
};

}  // namespace syncbus::inline v1::core
