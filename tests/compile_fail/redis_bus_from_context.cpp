// expect: deleted (function|constructor)
// A context cannot be rebuilt after a disconnection: a RedisBus takes a connector that makes one.
#include <syncbus/redis_bus.hpp>

int main() {
  redisContext* const context = redisConnect("127.0.0.1", 6379);
  syncbus::RedisBus bus{context, "channel"};
}
