// When a thread that stands by wakes up.
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include <syncbus/engine/parking.hpp>

#include "support/catch.hpp"
#include "support/eventually.hpp"

using namespace std::chrono_literals;
using syncbus::detail::Parking;

namespace {

/// A thread that answers every call, and counts its answers.
class Follower {
 public:
  Follower() : thread_{[this] { run(); }} {}
  ~Follower() {
    {
      const std::lock_guard lock{mutex_};
      stopping_ = true;
      parking_.unpark();
    }
    thread_.join();
  }
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  template <class Call>
  void with(const Call& call) {
    const std::lock_guard lock{mutex_};
    call(parking_);
  }
  [[nodiscard]] int answers() const { return answers_.load(); }

 private:
  void run() {
    std::unique_lock lock{mutex_};
    while (!stopping_) {
      lock.unlock();
      parking_.wait();
      lock.lock();
      parking_.acknowledge();
      ++answers_;
    }
  }

  std::mutex mutex_;
  Parking parking_;
  bool stopping_ = false;
  std::atomic<int> answers_{0};
  std::thread thread_;
};

}  // namespace

TEST_CASE("who stands by is woken by a call, and by each later one") {
  Follower follower;
  for (int i = 1; i <= 3; ++i) {
    follower.with([](Parking& parking) { parking.unpark(); });
    CHECK(support::eventually([&] { return follower.answers() == i; }));
  }
}

TEST_CASE("a call for later wakes by itself, and the next one does again") {
  Follower follower;
  for (int i = 1; i <= 3; ++i) {
    follower.with([](Parking& parking) { parking.unpark_in(1ms); });
    CHECK(support::eventually([&] { return follower.answers() == i; }));
  }
}

TEST_CASE("calls for later are one call until it is answered") {
  Follower follower;
  const auto start = std::chrono::steady_clock::now();
  follower.with([](Parking& parking) {
    parking.unpark_in(200ms);
    for (int i = 0; i != 100; ++i) parking.unpark_in(1us);
  });
  CHECK(support::eventually([&] { return follower.answers() == 1; }));
  CHECK(std::chrono::steady_clock::now() - start >= 200ms);
}

TEST_CASE("an answer to a call of now leaves the one for later to come") {
  Follower follower;
  follower.with([](Parking& parking) {
    parking.unpark_in(100ms);
    parking.unpark();
  });
  CHECK(support::eventually([&] { return follower.answers() == 2; }));
}

TEST_CASE("a call that nobody has answered wakes all who wait, also those who come later") {
  Parking parking;
  parking.unpark();
  std::thread first{[&] { parking.wait(); }};
  std::thread second{[&] { parking.wait(); }};
  first.join();
  second.join();
  parking.wait();
  parking.acknowledge();
}
