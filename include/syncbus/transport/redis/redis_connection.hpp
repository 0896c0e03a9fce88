// One connection to a Redis server, read and written without blocking. The only file that includes hiredis, which
// connects, and carries TLS; on a plain socket the bytes go past it, in larger pieces and without SIGPIPE.
#pragma once

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <syncbus/error.hpp>
#include <syncbus/transport/redis/resp_reader.hpp>
#include <syncbus/transport/redis/tls_errors.hpp>
#include <syncbus/transport/session/resolve.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1 {

/// Makes a connected, authenticated, blocking context, which the transport then owns: TLS, ACL and Sentinel are the
/// caller's. Called twice for each session, on a thread of its own, one call at a time; each call makes a new context.
/// A context with an error, a null, and a throw are a failed attempt. It should have timeouts: one that does not return
/// in time is left behind, with the copy of the connector that it runs in, and what comes of it late is freed.
using RedisConnector = std::function<redisContext*()>;

}  // namespace syncbus::inline v1

namespace syncbus::inline v1::detail {

struct RedisContextDeleter {
  void operator()(redisContext* context) const noexcept { redisFree(context); }
};
using RedisContextPtr = std::unique_ptr<redisContext, RedisContextDeleter>;

/// Throws ConnectError if the context is no usable connection.
inline void require_connected(const redisContext* context, const std::string& sentence) {
  if (context != nullptr && context->err == 0) return;
  const char* const why = context == nullptr ? "there is no context" : context->errstr;
  throw ConnectError{Errc::not_connected, sentence + ": " + why};
}

/// Whether the bytes of a context are those of its socket. hiredis before 1.0 knows nothing else.
template <class Context>
[[nodiscard]] bool is_plain_socket(const Context& context) noexcept {
  if constexpr (requires { context.privctx; }) {
    return context.privctx == nullptr;
  } else {
    return true;
  }
}

/// Reads through hiredis, which carries TLS: more than 0 bytes, 0 for "nothing now", or less for an error.
template <class Context>
[[nodiscard]] ssize_t read_wrapped(Context& context, std::span<char> room) noexcept {
  if constexpr (requires { context.funcs->read(&context, room.data(), room.size()); }) {
    forget_tls_errors();
    return context.funcs->read(&context, room.data(), room.size());
  } else {
    return -1;
  }
}

/// Reading belongs to one thread. write() may be called by others, one at a time, and not during flush(): the owner
/// sees to that. Through TLS the bytes leave in flush() only, which then belongs to the reading thread, with SIGPIPE
/// blocked.
class RedisConnection {
 public:
  enum class Received : std::uint8_t { some, nothing, broken };

  /// Takes a connected context. The reader's buffer has `buffer` bytes; a longer message than `max_message` is passed
  /// over.
  RedisConnection(RedisContextPtr context, std::size_t buffer, std::size_t max_message)
      : context_{std::move(context)}, plain_{is_plain_socket(*context_)}, reader_{buffer, max_message} {
    const int flags = ::fcntl(fd(), F_GETFL);
    if (flags < 0 || ::fcntl(fd(), F_SETFL, flags | O_NONBLOCK) < 0 || ::fcntl(fd(), F_SETFD, FD_CLOEXEC) < 0) {
      throw ConnectError{Errc::not_connected, "the context's descriptor is not usable"};
    }
    context_->flags &= ~REDIS_BLOCK;  // so that hiredis takes EAGAIN for what it is
  }

  [[nodiscard]] int fd() const noexcept { return static_cast<int>(context_->fd); }
  [[nodiscard]] const redisContext* context() const noexcept { return context_.get(); }

  /// The server's end.
  [[nodiscard]] SocketAddress peer() const noexcept {
    SocketAddress address;
    address.size = sizeof address.storage;
    if (::getpeername(fd(), reinterpret_cast<sockaddr*>(&address.storage), &address.size) != 0) address.size = 0;
    return address;
  }

  /// Why receive() said broken, or the server's bytes were not understood.
  [[nodiscard]] const std::string& error() const noexcept { return error_; }

  /// poll() is to tell of input from so many bytes on, or of the end; receive() takes less, too. Where a socket cannot
  /// do that, poll() tells of every byte.
  void tell_from(int bytes) noexcept { ::setsockopt(fd(), SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes); }

  /// Whether receive() may find something that poll() does not know of: TLS decrypts more than it is asked for.
  [[nodiscard]] bool may_hold_more() const noexcept { return !plain_ && received_some_; }

  /// Reads once.
  [[nodiscard]] Received receive() {
    const std::span<char> room = reader_.room();
    const ssize_t got = plain_ ? ::recv(fd(), room.data(), room.size(), MSG_DONTWAIT) : read_wrapped(*context_, room);
    received_some_ = got > 0;
    if (got > 0) {
      reader_.added(static_cast<std::size_t>(got));
      return Received::some;
    }
    if (plain_ ? got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) : got == 0) {
      return Received::nothing;
    }
    error_ = !plain_ ? context_->errstr : got == 0 ? "the server closed it" : std::generic_category().message(errno);
    return Received::broken;
  }

  /// The next reply of what was received.
  [[nodiscard]] RespReader::Next next(RespReply& reply) {
    const RespReader::Next result = reader_.next(reply);
    if (result == RespReader::Next::malformed) error_ = "the server sent what is no reply of Redis";
    return result;
  }

  /// Whether flush() has something to do: poll for POLLOUT. From any thread.
  [[nodiscard]] bool wants_flush() const noexcept { return wants_flush_.load(std::memory_order_acquire); }

  /// Bytes accepted and not handed to the kernel yet.
  [[nodiscard]] std::size_t backlog() const noexcept { return output_.size() - flushed_; }

  /// Writes the parts as one, as far as the kernel takes them, and keeps the rest for flush(). An error shows in
  /// flush().
  template <std::size_t count>
  void write(const std::array<std::string_view, count>& parts) {
    std::size_t written = 0;
    if (plain_ && !wants_flush()) written = send_now(parts);
    for (std::string_view part : parts) {
      const std::size_t gone = (std::min)(written, part.size());
      written -= gone;
      output_ += part.substr(gone);
    }
    if (backlog() != 0 || failed_) wants_flush_.store(true, std::memory_order_release);
  }

  /// Writes what write() kept, as far as the kernel takes it. False if the connection is broken.
  [[nodiscard]] bool flush() {
    if (!failed_) plain_ ? flush_plain() : flush_wrapped();
    if (!failed_ && !held_ && backlog() == 0) wants_flush_.store(false, std::memory_order_release);
    return !failed_;
  }

 private:
  template <std::size_t count>
  [[nodiscard]] std::size_t send_now(const std::array<std::string_view, count>& parts) noexcept {
    std::array<iovec, count> pieces{};
    for (std::size_t i = 0; i != count; ++i) {
      pieces[i] = {const_cast<char*>(parts[i].data()), parts[i].size()};  // sendmsg only reads
    }
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = count;
    const ssize_t sent = ::sendmsg(fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return static_cast<std::size_t>(sent);
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) failed_ = true;
    return 0;
  }

  void flush_plain() {
    flushed_ += send_now(std::array{std::string_view{output_}.substr(flushed_)});
    if (flushed_ < backlog()) return;  // what is moved is never more than what was written before
    output_.erase(0, flushed_);
    flushed_ = 0;
  }

  /// hiredis gets new bytes only when it has written the old ones: OpenSSL wants an unfinished write repeated as it
  /// was.
  void flush_wrapped() {
    int done = 0;
    forget_tls_errors();
    failed_ = redisBufferWrite(context_.get(), &done) != REDIS_OK;
    if (!failed_ && done != 0 && !output_.empty()) {
      failed_ = redisAppendFormattedCommand(context_.get(), output_.data(), output_.size()) != REDIS_OK ||
                redisBufferWrite(context_.get(), &done) != REDIS_OK;
      output_.clear();
    }
    held_ = done == 0;
  }

  RedisContextPtr context_;
  const bool plain_;
  RespReader reader_;
  bool received_some_ = false;
  std::string error_;
  std::string output_;
  std::size_t flushed_ = 0;  // of output_
  bool held_ = false;        // hiredis has bytes that it could not write yet
  bool failed_ = false;
  std::atomic<bool> wants_flush_ = false;
};

}  // namespace syncbus::inline v1::detail
