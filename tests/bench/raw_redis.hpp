// The peer of the benchmarks over Redis: bare hiredis.
#pragma once

#include <hiredis/hiredis.h>

#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace bench {

struct FreeContext {
  void operator()(redisContext* context) const { redisFree(context); }
};
using Context = std::unique_ptr<redisContext, FreeContext>;

inline void read_reply(redisContext& context) {
  void* reply = nullptr;
  if (redisGetReply(&context, &reply) != REDIS_OK) throw std::runtime_error{context.errstr};
  freeReplyObject(reply);
}

/// Publishes without waiting for the answer, as fast as the client can.
inline void publish(redisContext& context, const std::string& channel, const std::string& message) {
  redisAppendCommand(&context, "PUBLISH %b %b", channel.data(), channel.size(), message.data(), message.size());
  for (int done = 0; done == 0;) {
    if (redisBufferWrite(&context, &done) != REDIS_OK) throw std::runtime_error{context.errstr};
  }
}

/// A raw subscriber that blocks in its read, on a thread of its own, and calls back for each message.
class RawSubscriber {
 public:
  RawSubscriber(int port, std::string channel, std::function<void()> on_message)
      : port_{port}, channel_{std::move(channel)}, context_{redisConnect("127.0.0.1", port)} {
    redisAppendCommand(context_.get(), "SUBSCRIBE %b", channel_.data(), channel_.size());
    read_reply(*context_);
    thread_ = std::thread{[this, on_message = std::move(on_message)] {
      while (true) {
        read_reply(*context_);
        if (stop_) return;
        on_message();
      }
    }};
  }
  RawSubscriber(const RawSubscriber&) = delete;
  RawSubscriber& operator=(const RawSubscriber&) = delete;
  ~RawSubscriber() {
    stop_ = true;
    const Context last{redisConnect("127.0.0.1", port_)};
    publish(*last, channel_, "end");
    thread_.join();
  }

 private:
  int port_;
  std::string channel_;
  Context context_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace bench
