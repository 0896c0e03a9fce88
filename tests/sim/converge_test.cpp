// Clusters of engines on bad links, in virtual time, one after the other: whatever happens to them, they converge.
//
// SYNCBUS_SIM_SEED=n runs the one world of that seed and prints all that happens; SYNCBUS_SIM_SEEDS=n runs n worlds,
// those of seeds 1 to n, or behind SYNCBUS_SIM_AFTER=m, of m + 1 to m + n. SYNCBUS_SIM_HASHES=1 also prints, for each
// family, a hash of all that happened in its worlds: a change that is to change nothing leaves it as it is.
// How many run otherwise is SYNCBUS_SIM_DEFAULT_SEEDS, a definition of the build: fewer under sanitizers.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <iostream>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>

#include <syncbus/event.hpp>

#include "sim/make_plan.hpp"
#include "sim/plan.hpp"
#include "sim/trace_hash.hpp"
#include "sim/world.hpp"
#include "support/catch.hpp"

namespace {

using syncbus::ResyncCause;

#ifndef SYNCBUS_SIM_DEFAULT_SEEDS
#define SYNCBUS_SIM_DEFAULT_SEEDS 100000
#endif

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// The last lines of what happened, and how to see all of it.
std::string report(std::uint64_t seed, const std::string& problem) {
  constexpr int shown_lines = 40;
  std::ostringstream trace;
  sim::World world;
  const std::string again = world.run(seed, &trace);
  const std::string text = trace.str();
  std::size_t from = text.size();
  for (int lines = 0; lines <= shown_lines && from != 0; ++lines) {
    const std::size_t end_of_line = text.rfind('\n', from - 1);
    from = end_of_line == std::string::npos ? 0 : end_of_line;
  }
  return "seed " + std::to_string(seed) + ": " + problem + "\n" + text.substr(from) +
         (again == problem ? "\nrepeat it with" : "\nIT DOES NOT REPEAT (\"" + again + "\"); try") +
         " SYNCBUS_SIM_SEED=" + std::to_string(seed);
}

void tell(const char* what, const sim::Tally& sum) {
  std::cout << what << ": " << sum.events << " events, " << sum.moments << " moments, " << sum.gaps << " gaps, "
            << sum.repairs << " repairs, " << sum.quorums << " quorums, resyncs:";
  for (std::size_t cause = 0; cause != sum.resyncs.size(); ++cause) {
    std::cout << ' ' << to_string(static_cast<ResyncCause>(cause)) << ' ' << sum.resyncs[cause];
  }
  std::cout << '\n';
}

/// A family that never does what it is there for proves nothing.
void demand(const sim::Tally& sum, bool gaps, std::initializer_list<ResyncCause> causes) {
  CHECK(sum.quorums != 0);
  CHECK((!gaps || (sum.gaps != 0 && sum.repairs != 0)));
  for (const ResyncCause cause : causes) {
    INFO("resyncs with the cause " << to_string(cause));
    CHECK(sum.resyncs[static_cast<std::size_t>(cause)] != 0);
  }
}

/// Runs all worlds of a family, and demands of enough of them together that they have had gaps and such resyncs; the
/// sum of what they counted.
sim::Tally run(const char* name, sim::Family family, bool gaps, std::initializer_list<ResyncCause> causes) {
  constexpr std::uint64_t enough = 50'000;  // for the rarest of the causes
  sim::World world;
  sim::Tally sum;
  const std::uint64_t only = number_from("SYNCBUS_SIM_SEED", 0);
  const std::uint64_t seeds = number_from("SYNCBUS_SIM_SEEDS", SYNCBUS_SIM_DEFAULT_SEEDS);
  const std::uint64_t after = number_from("SYNCBUS_SIM_AFTER", 0);
  const std::uint64_t first = only != 0 ? only : after + 1;
  const std::uint64_t last = only != 0 ? only : after + seeds;
  std::optional<sim::TraceHash> hash;
  if (number_from("SYNCBUS_SIM_HASHES", 0) != 0) hash.emplace();
  std::ostream* const trace = only != 0 ? &std::cout : hash ? &hash->out() : nullptr;
  std::uint64_t failures = 0;
  for (std::uint64_t seed = first; seed <= last && failures != 5; ++seed) {
    if (sim::make_plan(seed).family != family) continue;
    const std::string problem = world.run(seed, trace);
    sum += world.tally();
    if (problem.empty()) continue;
    ++failures;
    FAIL_CHECK(report(seed, problem));
  }
  CHECK(failures == 0);
  tell(name, sum);
  if (hash) std::cout << "hash of the " << name << " worlds: " << std::hex << hash->value() << std::dec << '\n';
  if (only == 0 && failures == 0 && seeds >= enough) demand(sum, gaps, causes);
  return sum;
}

}  // namespace

TEST_CASE("where nothing fails every event is heard, in order, and a resync only for who asks or cannot be read") {
  using enum ResyncCause;
  run("calm", sim::Family::calm, false, {requested, incompatible});
}

TEST_CASE("many nodes that start together know one another, and no resync is raised but by request") {
  using enum ResyncCause;
  run("crowd", sim::Family::crowd, false, {requested});
}

TEST_CASE("what a link drops is repaired, and a repair costs few messages") {
  using enum ResyncCause;
  const sim::Tally sum = run("dropping", sim::Family::dropping, true, {requested, unrepairable});
  if (sum.gaps >= 1'000) CHECK(static_cast<double>(sum.repairs) <= 1.2 * static_cast<double>(sum.gaps));
}

TEST_CASE("on a link that drops, doubles, delays, reorders, damages and cuts, everything converges when it heals") {
  using enum ResyncCause;
  run("lossy", sim::Family::lossy, true, {requested, unrepairable, peer_lost, joined, overflow, incompatible});
}

TEST_CASE("when sessions break, brokers restart and nodes crash, everything converges when all are back") {
  using enum ResyncCause;
  run("interrupted", sim::Family::interrupted, true,
      {requested, unrepairable, peer_lost, interrupted, joined, overflow, incompatible});
}

TEST_CASE("whoever lies about others, nobody misses what they publish, or grows, and all are right about them in the end") {
  using enum ResyncCause;
  run("lied", sim::Family::lied, true, {requested, unrepairable, overflow});
}

TEST_CASE("awaits that follow one another closely each end as soon as enough have answered") {
  using enum ResyncCause;
  run("hurried", sim::Family::hurried, false, {requested});
}

TEST_CASE("who stands still, or is away for long and again, misses nothing, and who dies unheard is told of") {
  using enum ResyncCause;
  run("resumed", sim::Family::resumed, true, {requested, peer_lost, interrupted});
}

TEST_CASE("an await whose replicas were out of reach is satisfied when they are not any more") {
  using enum ResyncCause;
  run("patient", sim::Family::patient, true, {requested, unrepairable, peer_lost});
}

TEST_CASE("where little may be said besides events everything converges, as rarely as that is") {
  using enum ResyncCause;
  run("paced", sim::Family::paced, true, {requested, unrepairable, peer_lost});
}

TEST_CASE("when half of all are cut off and back, each node hears of one loss") {
  using enum ResyncCause;
  run("outage", sim::Family::outage, true, {peer_lost, interrupted, unrepairable});
}

TEST_CASE("nodes that move between servers, and servers that die or are cut off, hide nothing") {
  using enum ResyncCause;
  run("moving", sim::Family::moving, true, {requested, unrepairable, peer_lost, interrupted});
}

TEST_CASE("when another broker takes over, whoever comes to it is told that something may be lost") {
  using enum ResyncCause;
  run("failover", sim::Family::failover, true, {requested, peer_lost, interrupted, joined});
}

TEST_CASE("with the sizes and times of buses as they are everything converges") {
  using enum ResyncCause;
  run("real", sim::Family::real, true, {peer_lost});
}

TEST_CASE("when a bad link breaks as well, and nodes do not hear themselves, everything converges when it heals") {
  using enum ResyncCause;
  run("torn", sim::Family::torn, true,
      {requested, unrepairable, peer_lost, interrupted, joined, overflow, incompatible});
}
