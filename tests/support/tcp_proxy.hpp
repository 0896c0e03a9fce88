// A TCP proxy in front of a server: it cuts, stalls, slows down and forgets connections as a test says.
#pragma once

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <syncbus/base/wake_fd.hpp>

#include "support/server_process.hpp"

namespace support {

/// Listens on a loopback port and carries each connection to the server's port, on a thread of its own. All that
/// it does to connections it does to those that are there; a condition also to those that come.
class TcpProxy {
 public:
  using Clock = std::chrono::steady_clock;

  /// How bytes travel, in both directions.
  struct Condition {
    Clock::duration delay{};           ///< so late each byte arrives
    std::size_t bytes_per_second = 0;  ///< of each connection and direction; 0: no limit
    bool stalled = false;              ///< nothing is read or written; the connections stay open
    bool refuses = false;              ///< who connects is cut off at once
  };

  /// `port`: to listen on; 0: any that is free.
  explicit TcpProxy(int server_port, int port = 0) : server_port_{server_port}, listener_{listen(port)} {
    thread_ = std::thread{[this] { run(); }};
  }
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;
  ~TcpProxy() {
    change([](TcpProxy& self) { self.stopping_ = true; });
    thread_.join();
  }

  [[nodiscard]] int port() const noexcept { return port_; }

  void set(const Condition& condition) {
    change([&](TcpProxy& self) { self.condition_ = condition; });
  }

  /// Both ends of every connection are closed.
  void cut() {
    change([](TcpProxy& self) { self.links_.clear(); });
  }

  /// The server's ends are closed; the clients' stay open, and nothing comes or is taken there any more: what a client
  /// sees of a server, or a network, that is gone without a word.
  void half_open() {
    change([](TcpProxy& self) {
      for (const auto& link : self.links_) link->forget_server();
    });
  }

  [[nodiscard]] std::size_t connections() {
    const std::lock_guard lock{mutex_};
    return links_.size();
  }

  /// How often clients have spoken, of those that are there: what one says before it has heard the answer counts once.
  /// With a delay, the round trips that they waited for.
  [[nodiscard]] int turns() {
    const std::lock_guard lock{mutex_};
    int turns = 0;
    for (const auto& link : links_) turns += link->turns();
    return turns;
  }

 private:
  class Socket {
   public:
    explicit Socket(int fd) : fd_{fd} {
      if (fd < 0) throw std::runtime_error{"the proxy has no socket"};
    }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() { close(); }

    [[nodiscard]] int fd() const noexcept { return fd_; }
    void close() noexcept {
      if (fd_ >= 0) ::close(fd_);
      fd_ = -1;
    }

   private:
    int fd_;
  };

  /// One direction: what was read and is not written yet, each piece with the time when it may go.
  struct Flow {
    struct Piece {
      Clock::time_point at;
      std::string bytes;
    };

    std::deque<Piece> pieces{};
    std::size_t held = 0;
    Clock::time_point free_at{};  ///< when the limit lets the next byte through

    static constexpr std::size_t most = std::size_t{256} << 10U;  ///< held; then no more is read
  };

  class Link {
   public:
    Link(int client, int server) : client_{client}, server_{server} {}

    void forget_server() noexcept {
      forgotten_ = true;
      server_.close();
    }

    /// What to poll for, the client's end first.
    [[nodiscard]] std::array<pollfd, 2> interests(const Condition& condition, Clock::time_point now) const noexcept {
      if (forgotten_ || condition.stalled) return {pollfd{-1, 0, 0}, pollfd{-1, 0, 0}};
      return {pollfd{client_.fd(), events(up_, down_, now), 0}, pollfd{server_.fd(), events(down_, up_, now), 0}};
    }

    [[nodiscard]] int turns() const noexcept { return turns_; }

    /// When something that waits may go.
    [[nodiscard]] Clock::time_point due() const noexcept { return (std::min)(due(up_), due(down_)); }

    /// False when an end was closed.
    [[nodiscard]] bool step(const Condition& condition, Clock::time_point now) {
      if (forgotten_ || condition.stalled) return true;
      const std::size_t heard = up_.pieces.size(), owed = down_.held;
      if (!read(client_.fd(), up_, condition, now)) return false;
      if (up_.pieces.size() != heard && std::exchange(answered_, false)) ++turns_;
      if (!read(server_.fd(), down_, condition, now) || !write(server_.fd(), up_, condition, now)) return false;
      const bool told = owed != 0 && due(down_) <= now;
      answered_ = answered_ || told;
      return write(client_.fd(), down_, condition, now);
    }

   private:
    [[nodiscard]] static Clock::time_point due(const Flow& flow) noexcept {
      if (flow.pieces.empty()) return (Clock::time_point::max)();
      return (std::max)(flow.pieces.front().at, flow.free_at);
    }

    [[nodiscard]] static short events(const Flow& in, const Flow& out, Clock::time_point now) noexcept {
      const int reads = in.held < Flow::most ? POLLIN : 0;
      const int writes = due(out) <= now ? POLLOUT : 0;
      return static_cast<short>(reads | writes);
    }

    [[nodiscard]] static bool read(int fd, Flow& flow, const Condition& condition, Clock::time_point now) {
      std::array<char, 65'536> room{};
      while (flow.held < Flow::most) {
        const ssize_t got = ::recv(fd, room.data(), room.size(), MSG_DONTWAIT);
        if (got == 0) return false;
        if (got < 0) return errno == EAGAIN || errno == EINTR;
        flow.pieces.push_back({now + condition.delay, std::string{room.data(), static_cast<std::size_t>(got)}});
        flow.held += static_cast<std::size_t>(got);
      }
      return true;
    }

    [[nodiscard]] static bool write(int fd, Flow& flow, const Condition& condition, Clock::time_point now) {
      while (due(flow) <= now) {
        std::string& bytes = flow.pieces.front().bytes;
        const std::size_t slice = condition.bytes_per_second == 0 ? bytes.size() : condition.bytes_per_second / 100 + 1;
        const ssize_t gone = ::send(fd, bytes.data(), (std::min)(slice, bytes.size()), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (gone < 0) return errno == EAGAIN || errno == EINTR;
        flow.held -= static_cast<std::size_t>(gone);
        bytes.erase(0, static_cast<std::size_t>(gone));
        if (bytes.empty()) flow.pieces.pop_front();
        if (condition.bytes_per_second != 0) {
          flow.free_at = now + std::chrono::nanoseconds{1'000'000'000LL * gone /
                                                        static_cast<long long>(condition.bytes_per_second)};
        }
      }
      return true;
    }

    Socket client_;
    Socket server_;
    Flow up_;    // to the server
    Flow down_;  // to the client
    bool forgotten_ = false;
    bool answered_ = true;  // since the client has spoken
    int turns_ = 0;
  };

  /// Does it between two steps of the thread; returns when it is done.
  template <class Change>
  void change(const Change& change) {
    const std::lock_guard lock{mutex_};
    change(*this);
    wake_.signal();
  }

  [[nodiscard]] int listen(int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int yes = 1;  // connections of a proxy that was here before may not have died away
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in address = loopback(port);
    socklen_t size = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    if (fd < 0 || ::bind(fd, generic, size) != 0 || ::listen(fd, 64) != 0 || ::getsockname(fd, generic, &size) != 0) {
      throw std::runtime_error{"the proxy cannot listen"};
    }
    port_ = ntohs(address.sin_port);
    return fd;
  }

  void run() {
    for (;;) {
      std::vector<pollfd> polled{{wake_.fd(), POLLIN, 0}, {listener_.fd(), POLLIN, 0}};
      int timeout = -1;
      {
        const std::lock_guard lock{mutex_};
        if (stopping_) return links_.clear();
        timeout = prepare(polled);
      }
      ::poll(polled.data(), polled.size(), timeout);
      const std::lock_guard lock{mutex_};
      if (polled[0].revents != 0) wake_.drain();
      if (polled[1].revents != 0) accept();
      const auto now = Clock::now();
      std::erase_if(links_, [&](const auto& link) { return !link->step(condition_, now); });
    }
  }

  /// Returns the timeout, in milliseconds.
  [[nodiscard]] int prepare(std::vector<pollfd>& polled) const {
    const auto now = Clock::now();
    auto due = (Clock::time_point::max)();
    for (const auto& link : links_) {
      for (const pollfd& interest : link->interests(condition_, now)) polled.push_back(interest);
      if (!condition_.stalled && link->due() > now) due = (std::min)(due, link->due());
    }
    if (due == (Clock::time_point::max)()) return -1;
    return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(due - now).count());
  }

  void accept() {
    const int client = ::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(server_port_);
    auto link = std::make_unique<Link>(client, server);
    if (condition_.refuses || ::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      return;
    for (const int fd : {client, server}) {
      const int yes = 1;
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    }
    links_.push_back(std::move(link));
  }

  const int server_port_;
  int port_ = 0;
  Socket listener_;
  syncbus::detail::WakeFd wake_;
  std::mutex mutex_;
  Condition condition_{};
  std::vector<std::unique_ptr<Link>> links_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace support
