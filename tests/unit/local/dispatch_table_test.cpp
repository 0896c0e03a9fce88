// The dispatch table and the prefix lengths, without threads: who is found, in
// which order, at which size.
#include <syncbus/local/dispatch_table.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <syncbus/base/hash_bytes.hpp>
#include <syncbus/core/peers/peer_table.hpp>
#include <syncbus/core/receiving/outcome_memory.hpp>
#include <syncbus/local/prefix_lengths.hpp>

#include "support/catch.hpp"

using syncbus::detail::HashSecret;
using syncbus::detail::PrefixLengths;
using syncbus::KeySpace;

namespace {

using Table = syncbus::detail::DispatchTable<int>;
using Node = Table::Node;
constexpr std::uint64_t everyone = ~std::uint64_t{0};

Node& add(Table& table, std::string_view key, int value, KeySpace space = KeySpace::key) {
  auto node = Node::make(space, key, value);
  Node& added = *node;
  table.make_room();
  table.insert(std::move(node));
  return added;
}

void drop(Table& table, Node& node) {
  table.erase(node);
  const Node::Owner freed{&node};
}

std::vector<int> subscribers(const Table& table, std::string_view key, KeySpace space = KeySpace::key,
                             std::uint64_t last = everyone) {
  std::vector<int> found;
  const Table::Target target = table.target(space, key, last);
  for (const Node* node = table.find(target, 0); node != nullptr; node = Table::next_match(*node, target, node->id)) {
    found.push_back(node->subscriber);
  }
  return found;
}

std::vector<int> all_subscribers(const Table& table, std::uint64_t last = everyone) {
  std::vector<int> found;
  for (const Node* node = table.first_of_all(last); node != nullptr;
       node = Table::next_living(*node, node->order, node->id, last)) {
    found.push_back(node->subscriber);
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<int> up_to(int end) {
  std::vector<int> numbers;
  for (int i = 0; i != end; ++i) numbers.push_back(i);
  return numbers;
}

std::string key_of(std::size_t i) { return "user:" + std::to_string(i * 7919); }

/// Different keys of one hash: their first word is the one that the hash's
/// multiplication turns into 0.
std::string colliding(char last) {
  constexpr std::uint64_t word = 0xe7037ed1a0b428dbU;
  std::string key(9, last);
  std::memcpy(key.data(), &word, sizeof word);
  return key;
}

}  // namespace

TEST_CASE("nobody is found in an empty table") {
  const Table table;
  CHECK(subscribers(table, "k").empty());
  CHECK(all_subscribers(table).empty());
}

TEST_CASE(
    "the subscribers of a key are found in the order of their "
    "subscription, and nobody else's") {
  Table table;
  add(table, "k", 1);
  add(table, "other", 7);
  add(table, "k", 2);
  add(table, "k", 3);
  CHECK(subscribers(table, "k") == std::vector{1, 2, 3});
  CHECK(subscribers(table, "other") == std::vector{7});
  CHECK(subscribers(table, "kk").empty());
  CHECK(subscribers(table, "").empty());
}

TEST_CASE("keys, leases and prefixes of one name do not mix") {
  Table table;
  add(table, "name", 1, KeySpace::key);
  add(table, "name", 2, KeySpace::lease);
  add(table, "name", 3, KeySpace::prefix);
  CHECK(subscribers(table, "name", KeySpace::key) == std::vector{1});
  CHECK(subscribers(table, "name", KeySpace::lease) == std::vector{2});
  CHECK(subscribers(table, "name", KeySpace::prefix) == std::vector{3});
}

TEST_CASE("any bytes are a name, whatever their number") {
  Table table;
  std::vector<std::string> keys{std::string{}, std::string(1, '\0'), std::string(2, '\0')};
  for (std::size_t size = 1; size != 70; ++size) keys.push_back(std::string(size, 'a'));
  keys.emplace_back(5000, '*');
  for (std::size_t i = 0; i != keys.size(); ++i) add(table, keys[i], static_cast<int>(i), KeySpace::prefix);
  for (std::size_t i = 0; i != keys.size(); ++i) {
    CHECK(subscribers(table, keys[i], KeySpace::prefix) == std::vector{static_cast<int>(i)});
  }
}

TEST_CASE("bytes are equal when all are, wherever one differs") {
  for (std::size_t size = 0; size != 70; ++size) {
    const std::string one(size, 'x');
    CHECK(syncbus::detail::equal_bytes(one.data(), std::string{one}.data(), size));
    for (std::size_t at = 0; at != size; ++at) {
      std::string other = one;
      other[at] = 'y';
      CHECK_FALSE(syncbus::detail::equal_bytes(one.data(), other.data(), size));
    }
  }
}

TEST_CASE("keys that are made to collide under known numbers do not under drawn ones") {
  const Table known;
  std::mt19937_64 random{GENERATE(1U, 2U, 3U)};
  const Table drawn{HashSecret{random(), random()}};
  std::set<std::uint64_t> orders;
  for (int i = 0; i != 20'000; ++i) {
    const std::string key = colliding('a') + std::to_string(1'000'000 + i);
    REQUIRE(known.order_of(KeySpace::key, key) == 1);
    orders.insert(drawn.order_of(KeySpace::key, key));
  }
  CHECK(orders.size() == 20'000);
}

TEST_CASE("the hash of ids, and of frames, depends on numbers that are drawn") {
  using syncbus::core::FrameNameHash, syncbus::core::NodeIdHash, syncbus::NodeId;
  const HashSecret one{1, 2};
  const HashSecret other{0x123456789abcdefU, 0xfedcba987654321U};
  std::set<std::size_t> ids, frames;
  for (std::uint64_t i = 0; i != 1'000; ++i) {
    const NodeId id{i << 32U};
    CHECK(NodeIdHash{one}(id) != NodeIdHash{other}(id));
    CHECK(FrameNameHash{one}({id, i}) != FrameNameHash{other}({id, i}));
    ids.insert(NodeIdHash{other}(id) % 1'009);
    frames.insert(FrameNameHash{other}({id, i << 32U}) % 1'009);
  }
  CHECK(ids.size() > 550);  // of a thousand that fall anywhere, 634 places are hit
  CHECK(frames.size() > 550);
}

TEST_CASE("different keys of one hash are different keys") {
  Table table;
  REQUIRE(table.order_of(KeySpace::key, colliding('a')) == table.order_of(KeySpace::key, colliding('b')));
  std::vector<Node*> nodes;
  for (int i = 0; i != 6; ++i) nodes.push_back(&add(table, colliding(i % 2 == 0 ? 'a' : 'b'), i));
  CHECK(subscribers(table, colliding('a')) == std::vector{0, 2, 4});
  CHECK(subscribers(table, colliding('b')) == std::vector{1, 3, 5});
  CHECK(subscribers(table, colliding('c')).empty());
  drop(table, *nodes[0]);
  drop(table, *nodes[5]);
  add(table, colliding('b'), 6);
  CHECK(subscribers(table, colliding('a')) == std::vector{2, 4});
  CHECK(subscribers(table, colliding('b')) == std::vector{1, 3, 6});
  CHECK(all_subscribers(table) == std::vector{1, 2, 3, 4, 6});
}

TEST_CASE("a dispatch finds those who were there when it began") {
  Table table;
  CHECK(table.last_id() == 0);
  add(table, "k", 1);
  add(table, "k", 2);
  const std::uint64_t began = table.last_id();
  add(table, "k", 3);
  CHECK(subscribers(table, "k", KeySpace::key, began) == std::vector{1, 2});
  CHECK(all_subscribers(table, began) == std::vector{1, 2});
  CHECK(subscribers(table, "k") == std::vector{1, 2, 3});
}

TEST_CASE(
    "a node says whether others may stand behind it, so that a dispatch "
    "to one subscriber looks no further") {
  Table table;
  const Node& first = add(table, "k", 1);
  CHECK_FALSE(first.followed);
  add(table, "other", 2);
  CHECK_FALSE(first.followed);
  const Node& second = add(table, "k", 3);
  CHECK(first.followed);
  CHECK_FALSE(second.followed);
}

TEST_CASE("whoever is erased is not found, and those behind keep their order") {
  Table table;
  std::vector<Node*> nodes;
  for (int i = 0; i != 5; ++i) nodes.push_back(&add(table, "k", i));
  SECTION("the first") {
    drop(table, *nodes[0]);
    CHECK(subscribers(table, "k") == std::vector{1, 2, 3, 4});
  }
  SECTION("one between") {
    drop(table, *nodes[2]);
    CHECK(subscribers(table, "k") == std::vector{0, 1, 3, 4});
  }
  SECTION("the last, whose place the next one takes") {
    drop(table, *nodes[4]);
    add(table, "k", 9);
    CHECK(subscribers(table, "k") == std::vector{0, 1, 2, 3, 9});
  }
  SECTION("all, in any order, and another comes") {
    for (const std::size_t i : {std::size_t{1}, std::size_t{4}, std::size_t{0}, std::size_t{3}, std::size_t{2}}) {
      drop(table, *nodes[i]);
      add(table, "k", 10 + static_cast<int>(i));
    }
    CHECK(subscribers(table, "k") == std::vector{11, 14, 10, 13, 12});
    CHECK(table.size() == 5);
  }
}

TEST_CASE("a reader that stands on an erased node can still leave it") {
  Table table;
  add(table, "k", 1);
  Node& second = add(table, "k", 2);
  add(table, "k", 3);
  table.erase(second);
  CHECK_FALSE(second.alive);
  const Table::Target target = table.target(KeySpace::key, "k", everyone);
  const Node* const behind = Table::next_match(second, target, second.id);
  REQUIRE(behind != nullptr);
  CHECK(behind->subscriber == 3);
  const Node::Owner freed{&second};
}

TEST_CASE(
    "a reader that lost its place finds it again by the last id that it "
    "served") {
  Table table;
  add(table, "k", 1);
  Node& second = add(table, "k", 2);
  add(table, "k", 3);
  const std::uint64_t served = second.id;
  drop(table, second);
  const Node* const behind = table.find(table.target(KeySpace::key, "k", everyone), served);
  REQUIRE(behind != nullptr);
  CHECK(behind->subscriber == 3);
}

TEST_CASE(
    "a walk over everybody finds each once, also when each is erased as "
    "it is found") {
  Table table;
  constexpr int count = 500;
  for (int i = 0; i != count; ++i)
    add(table, key_of(static_cast<std::size_t>(i / 5)), i, i % 2 == 0 ? KeySpace::key : KeySpace::lease);
  CHECK(all_subscribers(table) == up_to(count));

  std::vector<int> found;
  for (Node* node = table.first_of_all(everyone); node != nullptr;) {
    found.push_back(node->subscriber);
    const auto [order, id] = std::pair{node->order, node->id};
    if (node->subscriber % 3 == 0) {
      node = Table::next_living(*node, order, id, everyone);
    } else {
      drop(table, *node);
      node = table.find_behind(order, id, everyone);
    }
  }
  std::sort(found.begin(), found.end());
  CHECK(found == up_to(count));
  CHECK(table.size() == 167);
}

TEST_CASE("a hundred thousand keys are all found, and those that left are not") {
  Table table;
  constexpr std::size_t count = 100'000;
  std::vector<Node*> nodes;
  nodes.reserve(count);
  for (std::size_t i = 0; i != count; ++i) nodes.push_back(&add(table, key_of(i), static_cast<int>(i)));
  std::size_t wrong = 0;
  for (std::size_t i = 0; i != count; ++i) {
    const Node* const node = table.find(table.target(KeySpace::key, key_of(i), everyone), 0);
    if (node == nullptr || node->subscriber != static_cast<int>(i)) ++wrong;
  }
  CHECK(wrong == 0);
  for (std::size_t i = 0; i < count; i += 2) drop(table, *nodes[i]);
  for (std::size_t i = 0; i != count; ++i) {
    const bool found = table.find(table.target(KeySpace::key, key_of(i), everyone), 0) != nullptr;
    if (found != (i % 2 == 1)) ++wrong;
  }
  CHECK(wrong == 0);
  CHECK(table.size() == count / 2);
}

TEST_CASE(
    "twenty thousand subscribers of one key come and go in any order, "
    "each in one step") {
  // Were a step to take a walk past the others, this would take half an hour
  // under a sanitizer.
  Table table;
  constexpr int count = 20'000;
  std::vector<Node*> nodes;
  const Node& neighbour = add(table, "neighbour", -1);
  for (int i = 0; i != count; ++i) nodes.push_back(&add(table, "k", i));
  CHECK(subscribers(table, "k") == up_to(count));
  SECTION("the first first") {}
  SECTION("the last first") { std::reverse(nodes.begin(), nodes.end()); }
  SECTION("shuffled") { std::shuffle(nodes.begin(), nodes.end(), std::mt19937{7}); }
  for (int round = 0; round != 20; ++round) {
    for (std::size_t i = 0; i != nodes.size(); ++i) {
      drop(table, *nodes[i]);
      nodes[i] = &add(table, "k", static_cast<int>(i));
    }
  }
  CHECK(subscribers(table, "k") == up_to(count));
  for (Node* const node : nodes) drop(table, *node);
  CHECK(subscribers(table, "k").empty());
  CHECK(subscribers(table, "neighbour") == std::vector{neighbour.subscriber});
  CHECK(table.size() == 1);
}

TEST_CASE(
    "intervals are as many as subscribers ever were at once, however "
    "often they come and go") {
  Table table;
  for (std::size_t i = 0; i != 100; ++i) add(table, key_of(i), 0);
  const std::size_t intervals = table.intervals();
  CHECK(intervals >= 50);
  CHECK(intervals <= 101);
  for (int i = 0; i != 10'000; ++i) drop(table, add(table, "guest", 1));
  CHECK(table.intervals() <= intervals + 1);
}

TEST_CASE("keys are spread: a lookup passes few others") {
  Table table;
  constexpr std::size_t count = 10'000;
  for (std::size_t i = 0; i != count; ++i) add(table, key_of(i), 0);
  // Of ten thousand keys thrown into as many intervals, ten in one are rarer
  // than one in a hundred runs of this test.
  std::vector<int> crowd(count);
  for (std::size_t i = 0; i != count; ++i) {
    ++crowd[static_cast<std::size_t>((table.order_of(KeySpace::key, key_of(i)) >> 32U) * count >> 32U)];
  }
  CHECK(*std::max_element(crowd.begin(), crowd.end()) < 12);
}

TEST_CASE("whatever comes and goes, the table holds what a map holds") {
  Table table;
  std::map<std::pair<KeySpace, std::string>, std::vector<Node*>> model;
  std::vector<Node*> everybody;
  std::mt19937 random{GENERATE(1U, 2U, 3U)};
  const auto below = [&](std::size_t end) { return std::uniform_int_distribution<std::size_t>{0, end - 1}(random); };
  std::size_t wrong = 0;
  std::size_t limit = 1;
  for (int step = 0; step != 20'000; ++step) {
    if (step % 2'000 == 0) limit = 1 + below(600);  // grows and shrinks
    const KeySpace space{static_cast<std::uint8_t>(below(3))};
    const std::string key = below(4) == 0 ? colliding(static_cast<char>('a' + below(3))) : key_of(below(200));
    auto& same_hash = model[{space, key}];
    if (everybody.size() < limit && below(3) != 0) {
      same_hash.push_back(&add(table, key, step, space));
      everybody.push_back(same_hash.back());
    } else if (!everybody.empty()) {
      const std::size_t at = below(everybody.size());
      Node* const node = std::exchange(everybody[at], everybody.back());
      everybody.pop_back();
      std::erase(model[{node->space, std::string{node->name()}}], node);
      drop(table, *node);
    }
    std::vector<int> expected;
    for (const Node* node : same_hash) expected.push_back(node->subscriber);
    if (subscribers(table, key, space) != expected || table.size() != everybody.size()) ++wrong;
    if (step % 500 == 0) {
      std::vector<int> all;
      for (const Node* node : everybody) all.push_back(node->subscriber);
      std::sort(all.begin(), all.end());
      if (all_subscribers(table) != all) ++wrong;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a table frees who is left in it") {
  struct Held {
    std::shared_ptr<int> token;
  };
  const auto token = std::make_shared<int>(0);
  {
    syncbus::detail::DispatchTable<Held> table;
    for (std::size_t i = 0; i != 10; ++i) {
      table.make_room();
      table.insert(syncbus::detail::DispatchNode<Held>::make(KeySpace::key, key_of(i), {token}));
    }
    CHECK(token.use_count() == 11);
  }
  CHECK(token.use_count() == 1);
}

TEST_CASE("prefix lengths are those in use, each once") {
  PrefixLengths lengths;
  const auto in_use = [&] {
    std::vector<std::size_t> found;
    for (const auto* entry = lengths.first(); entry != nullptr; entry = entry->next) {
      if (entry->prefixes != 0) found.push_back(entry->length);
    }
    std::sort(found.begin(), found.end());
    return found;
  };
  CHECK(lengths.first() == nullptr);
  lengths.add(4);
  lengths.add(0);
  lengths.add(4);
  CHECK(in_use() == std::vector<std::size_t>{0, 4});
  lengths.remove(4);
  CHECK(in_use() == std::vector<std::size_t>{0, 4});
  lengths.remove(4);
  CHECK(in_use() == std::vector<std::size_t>{0});
  lengths.add(4);
  CHECK(in_use() == std::vector<std::size_t>{0, 4});
}
