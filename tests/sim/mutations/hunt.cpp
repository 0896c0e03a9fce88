// Runs the worlds of seeds 1 to n until one fails: exit code 1, and what was wrong with it.
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>

#include "sim/world.hpp"

int main(int count, char** arguments) {
  const std::uint64_t most = count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 20'000;
  sim::World world;
  for (std::uint64_t seed = 1; seed <= most; ++seed) {
    const std::string& problem = world.run(seed);
    if (problem.empty()) continue;
    std::cout << "seed " << seed << ": " << problem << '\n';
    return 1;
  }
  return 0;
}
