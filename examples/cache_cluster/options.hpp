// What the command line says: options of the cluster, their defaults and limits.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace cache_cluster {

inline constexpr std::string_view usage =
    R"(cache_cluster: cache nodes that read and write one table, and keep their caches right over syncbus.

  cache_cluster [options]               nodes are threads, over an in-memory hub that loses and doubles frames and is
                                        partitioned twice
  cache_cluster [options] --redis       each node is a process of its own, over a private redis-server that is killed,
                                        started again, stopped and continued
  cache_cluster [options] --nats        the same over a private nats-server
  cache_cluster [options] --kafka       the same over a private Apache Kafka
  cache_cluster [options] redis://...   the same over that Redis server, which is left in peace
  cache_cluster [options] nats://...    the same over that NATS server
  cache_cluster [options] kafka://...   the same over that Kafka cluster, where the topic is made and stays

Every node reads through a cache of its own, and writes. What a node writes it announces; the others drop their copies.
Some writes wait for a quorum: until a majority of the nodes, the writer included, has dropped its copy.
At the end every entry of every cache is compared with the table. Exit status: 0 when no entry is stale, 1 when one is,
when a calm run had a resync, when frames were lost and none was repaired, when no quorum was satisfied or when
something failed, 2 for wrong arguments.

The table has a line for each second: the nodes connected; reads, and how many of them were hits; invalidations that
went out and came in; how stale a node said it may be, the worst of all in milliseconds; frames found missing, and
repaired; quorums that were satisfied, and that were not; resyncs by their cause.

  --nodes N       cache nodes, 2 to 64 (default 4)
  --keys N        keys in the table, 1 to 10000000 (default 20000)
  --seconds N     how long the nodes read and write, 1 to 86400 (default 10)
  --seed N        what keys the nodes choose, and which frames the hub loses (default 7)
  --quorum N      one write in N waits for a quorum, 0: none does (default 50)
  --calm          no faults: then there must be no resync either
  --channel NAME  the channel, subject or topic on the server (default: one of this run's own)
  --no-bus        the same nodes, each alone, so nobody hears of a write elsewhere: shows how stale the caches get
  --help          this text
)";

/// A wrong command line; what() says what was expected.
class BadArguments : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class Mode { threads, server, private_server, no_bus };

enum class Broker { redis, nats, kafka };

struct Options {
  Mode mode = Mode::threads;
  Broker broker = Broker::redis;  // of a server
  std::string url{};
  std::string channel{};  // empty: the cluster makes one up
  std::size_t nodes = 4;
  std::size_t keys = 20'000;
  std::size_t seconds = 10;
  std::uint64_t seed = 7;
  std::size_t writes_per_quorum = 50;  // 0: no write waits for one
  bool calm = false;
  bool help = false;
};

inline std::uint64_t parse_number(std::string_view option, std::string_view text, std::uint64_t least,
                                  std::uint64_t most) {
  std::uint64_t number = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, number);
  if (error != std::errc{} || end != last || number < least || number > most) {
    throw BadArguments{std::string{option} + " takes a number from " + std::to_string(least) + " to " +
                       std::to_string(most) + ", not '" + std::string{text} + "'"};
  }
  return number;
}

inline void set_mode(Options& options, Mode mode, Broker broker = {}) {
  const bool same = options.mode == mode && options.broker == broker && mode != Mode::server;
  if (options.mode != Mode::threads && !same) {
    throw BadArguments{"give one of: the URL of a server, --redis, --nats, --kafka, --no-bus"};
  }
  options.mode = mode;
  options.broker = broker;
}

/// By the scheme of a URL.
[[nodiscard]] inline std::optional<Broker> broker_of(std::string_view url) {
  if (url.starts_with("redis://")) return Broker::redis;
  if (url.starts_with("nats://")) return Broker::nats;
  if (url.starts_with("kafka://")) return Broker::kafka;
  return std::nullopt;
}

inline Options parse_options(int count, char** arguments) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string_view argument = arguments[i];
    const auto value = [&]() -> std::string_view {
      if (i + 1 == count) throw BadArguments{std::string{argument} + " needs a value"};
      return arguments[++i];
    };
    if (argument == "--help" || argument == "-h") {
      options.help = true;
    } else if (argument == "--redis") {
      set_mode(options, Mode::private_server, Broker::redis);
    } else if (argument == "--nats") {
      set_mode(options, Mode::private_server, Broker::nats);
    } else if (argument == "--kafka") {
      set_mode(options, Mode::private_server, Broker::kafka);
    } else if (argument == "--no-bus") {
      set_mode(options, Mode::no_bus);
    } else if (argument == "--nodes") {
      options.nodes = parse_number(argument, value(), 2, 64);
    } else if (argument == "--keys") {
      options.keys = parse_number(argument, value(), 1, 10'000'000);
    } else if (argument == "--seconds") {
      options.seconds = parse_number(argument, value(), 1, 86'400);
    } else if (argument == "--seed") {
      options.seed = parse_number(argument, value(), 0, UINT64_MAX);
    } else if (argument == "--quorum") {
      options.writes_per_quorum = parse_number(argument, value(), 0, 1'000'000);
    } else if (argument == "--calm") {
      options.calm = true;
    } else if (argument == "--channel") {
      options.channel = value();
      if (options.channel.empty()) throw BadArguments{"--channel needs a name"};
    } else if (const auto broker = broker_of(argument)) {
      set_mode(options, Mode::server, *broker);
      options.url = argument;
    } else {
      throw BadArguments{"'" + std::string{argument} +
                         "' is neither an option nor a redis://, nats:// or kafka:// URL"};
    }
  }
  return options;
}

}  // namespace cache_cluster
