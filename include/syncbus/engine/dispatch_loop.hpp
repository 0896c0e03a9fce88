// Runs handlers of remote events: on the engine's thread, the user's executor, or the thread that brings them.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <thread>
#include <utility>

#include <syncbus/base/blocked_signals.hpp>
#include <syncbus/base/process_mutex.hpp>
#include <syncbus/base/start_thread.hpp>
#include <syncbus/engine/parking.hpp>
#include <syncbus/options.hpp>

namespace syncbus::inline v1::detail {

enum class Dispatching : std::uint8_t {
  thread,    ///< on a thread of the engine
  executor,  ///< as tasks of BusOptions::executor, one at a time
  inline_,   ///< on the thread that brought the frame
};

/// Runs the work of an engine, by one thread at a time. `Work` has, all but the last three called under the engine's
/// lock,
///
///     bool has_work() const;
///     bool do_one(ProcessMutex::Lock&);   // releases the lock while user code runs; false: nothing to do
///     void post();                                  // gives the executor a task that calls run_task(), or drop_task()
///     bool serve(const std::atomic<bool>& leave);   // does the transport's I/O: see LendableTransport
///
/// On own threads it is leader and follower, if threads can be lent to the transport. There are two, and one of them,
/// the leader, does the I/O. When it has read something to dispatch it leaves the I/O and dispatches, so that the event
/// is heard without a change of thread. The other looks `takeover_after` later, and takes the I/O over if the dispatch
/// still runs: a slow handler stops the reading for so long at most, and quick ones wake the other once in that time at
/// most.
template <class Work>
class DispatchLoop {
 public:
  static constexpr std::chrono::microseconds takeover_after{500};

  DispatchLoop(Dispatching where, bool lendable, Work& work, ProcessMutex& mutex) noexcept
      : where_{where}, lends_threads_{lendable && where == Dispatching::thread}, work_{work}, mutex_{mutex} {}
  DispatchLoop(const DispatchLoop&) = delete;
  DispatchLoop& operator=(const DispatchLoop&) = delete;
  ~DispatchLoop() = default;

  [[nodiscard]] bool lends_threads() const noexcept { return lends_threads_; }

  /// `keep_alive` lives as long as the threads. Throws std::system_error without descriptors or threads.
  template <class KeepAlive>
  void start(const KeepAlive& keep_alive) {
    if (where_ != Dispatching::thread) return;
    mutex_.locked([&] {
      if (lends_threads_) parking_.emplace();
      serving_possible_ = lends_threads_;
      for (std::size_t i = 0; i != (lends_threads_ ? threads_.size() : 1); ++i) {
        threads_[i] = start_thread([this, keep_alive] { run_until_stopped(); });
        ++threads_alive_;
      }
    });
  }

  /// There is something to do. For an executor post() follows; for inline_, run_inline().
  void wake() noexcept {
    if (where_ != Dispatching::thread || running_) return;  // who runs looks again
    if (leader_ == std::this_thread::get_id()) {
      leave_.store(true, std::memory_order_relaxed);
    } else if (idle_ != 0) {
      call_idle();
    }
  }

  /// Offers what waits to the executor, unless it has a task: after wake(), and now and then, for it may have refused
  /// one. Releases the lock meanwhile.
  void post(ProcessMutex::Lock& lock) noexcept {
    if (where_ != Dispatching::executor || stopping_ || task_posted_ || !work_.has_work()) return;
    task_posted_ = true;
    lock.unlock();
    work_.post();
    lock.lock();
  }

  /// What a posted task does.
  void run_task() noexcept {
    mutex_.locked([this](ProcessMutex::Lock& lock) {
      run_all(lock);
      task_posted_ = false;
    });
  }

  /// A posted task will not be run.
  void drop_task() noexcept {
    mutex_.locked([this] { task_posted_ = false; });
  }

  void run_inline(ProcessMutex::Lock& lock) noexcept {
    if (where_ == Dispatching::inline_) run_all(lock);
  }

  /// Has all work done that waits, and begins none after `deadline`. Returns when none is left, or at the deadline.
  void finish(TimePoint deadline, ProcessMutex::Lock& lock) noexcept {
    finishing_ = true;
    if (where_ == Dispatching::inline_) return run_all(lock, deadline);
    if (work_.has_work()) call_idle();
    post(lock);
    stopped_.wait_until(lock, deadline, [&] { return !running_ && !work_.has_work(); });
  }

  /// Ends the loop. A thread that runs user code beyond the deadline is left behind, and what it uses stays alive;
  /// returns whether there is none. Precondition: the transport is closed.
  [[nodiscard]] bool stop(TimePoint deadline, ProcessMutex::Lock& lock) noexcept {
    finishing_ = stopping_ = true;
    call_idle();
    const bool ended = stopped_.wait_until(lock, deadline, [&] { return threads_alive_ == 0 && !running_; });
    lock.unlock();
    for (std::thread& thread : threads_) {
      if (thread.joinable()) ended ? thread.join() : thread.detach();
    }
    lock.lock();
    return ended;
  }

 private:

  void run_all(ProcessMutex::Lock& lock, TimePoint deadline = never) noexcept {
    if (std::exchange(running_, true)) return;
    while (!stopping_ && (deadline == never || std::chrono::steady_clock::now() < deadline) && work_.do_one(lock)) {
    }
    running_ = false;
    if (finishing_) stopped_.notify_all();
  }

  void run_until_stopped() noexcept {
    const SignalsOfThread as_before;  // a broker's I/O, and threads that clients start, come next on this thread
    mutex_.locked([&](ProcessMutex::Lock& lock) {
      while (!stopping_) {
        if (!running_ && work_.has_work()) {
          run_all(lock);
          as_before.restore();
        } else if (serving_possible_ && leader_ == std::thread::id{}) {
          lead(lock);
        } else {
          idle(lock);
        }
      }
      --threads_alive_;
      stopped_.notify_all();
    });
  }

  /// Threads that wait look again.
  void call_idle() noexcept { parking_ ? parking_->unpark() : wake_.notify_all(); }

  void idle(ProcessMutex::Lock& lock) noexcept {
    ++idle_;
    if (parking_) {
      lock.unlock();
      parking_->wait();
      lock.lock();
      if (!stopping_) parking_->acknowledge();  // the last call is for everybody
    } else {
      wake_.wait(lock);
    }
    --idle_;
  }

  /// Does the I/O until there is something to dispatch; the other goes on with it, if that lasts.
  void lead(ProcessMutex::Lock& lock) noexcept {
    leader_ = std::this_thread::get_id();
    leave_.store(false, std::memory_order_relaxed);
    lock.unlock();
    const bool more = work_.serve(leave_);
    lock.lock();
    leader_ = {};
    serving_possible_ = serving_possible_ && more;
    if (idle_ != 0) parking_->unpark_in(takeover_after);
  }

  const Dispatching where_;
  const bool lends_threads_;
  Work& work_;
  ProcessMutex& mutex_;
  bool running_ = false;
  bool serving_possible_ = false;
  bool task_posted_ = false;
  bool finishing_ = false;
  bool stopping_ = false;
  std::size_t idle_ = 0;           ///< threads that wait for work, or for the lead
  std::size_t threads_alive_ = 0;
  std::thread::id leader_;         ///< who does the I/O
  std::atomic<bool> leave_{false}; ///< the leader is to leave it
  std::optional<Parking> parking_;  ///< where they wait, if they do the I/O
  std::condition_variable wake_;    ///< or else
  std::condition_variable stopped_;
  std::array<std::thread, 2> threads_;
};

}  // namespace syncbus::inline v1::detail
