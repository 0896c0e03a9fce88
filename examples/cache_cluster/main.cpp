// cache_cluster, the main job: cache nodes that hear of each other's writes, and the audit that proves it.
// How to try it: examples/run; examples/run --redis; examples/run --nats; examples/run --kafka; examples/run --calm;
// examples/run --no-bus; examples/run --help.
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

#include "board.hpp"
#include "node.hpp"
#include "node_host.hpp"
#include "options.hpp"
#include "supervisor.hpp"
#include "truth.hpp"
#include "zipf.hpp"

namespace {

int run(const cache_cluster::Options& options) {
  using namespace cache_cluster;
  Board board{options.nodes};
  Truth truth{options.keys};
  const Zipf zipf{options.keys};
  std::vector<std::string> keys;
  keys.reserve(options.keys);
  for (std::size_t row = 0; row != options.keys; ++row) keys.push_back(Truth::key(row));

  const Cluster cluster{.board = board,
                        .truth = truth,
                        .keys = keys,
                        .zipf = zipf,
                        .seed = options.seed,
                        .writes_per_quorum = options.writes_per_quorum,
                        .calm = options.calm,
                        .connected = options.mode != Mode::no_bus};
  const bool threads = options.mode == Mode::threads || options.mode == Mode::no_bus;
  return threads ? run_threads(cluster, options) : run_processes(cluster, options);
}

}  // namespace

int main(int count, char** arguments) {
  constexpr int bad_arguments = 2;
  constexpr int interrupted = 130;
  try {
    const auto options = cache_cluster::parse_options(count, arguments);
    if (options.help) {
      std::fputs(std::string{cache_cluster::usage}.c_str(), stdout);
      return EXIT_SUCCESS;
    }
    return run(options);
  } catch (const cache_cluster::BadArguments& error) {
    std::fprintf(stderr, "cache_cluster: %s (--help shows what there is)\n", error.what());
    return bad_arguments;
  } catch (const cache_cluster::Interrupted&) {
    std::fputs("cache_cluster: interrupted\n", stderr);
    return interrupted;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cache_cluster: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
