// The cache of examples 2 and 3: reads through, keeps what it writes, and is right whatever other nodes write
// meanwhile.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <syncbus/bus.hpp>
#include <syncbus/fill_guard.hpp>

struct Row {
  std::string value{};        // empty: there is none
  std::uint64_t version = 0;  // of the row's last change
};

/// Stands in for the database that all nodes share. Every change of a row, a removal too, takes the next version; that
/// of a row which is made again goes on where it was.
class Database {
 public:
  Row read(const std::string& key) {
    Row row;
    {
      const std::scoped_lock lock{mutex_};
      ++reads_;
      row = rows_[key];
    }
    if (const auto meanwhile = std::exchange(while_answering_, nullptr)) meanwhile();
    return row;
  }

  Row write(const std::string& key, const std::string& value) {
    const std::scoped_lock lock{mutex_};
    Row& row = rows_[key];
    row.value = value;
    ++row.version;
    return row;
  }

  /// What happens while the next answer is on its way to the reader.
  void while_answering(std::function<void()> action) { while_answering_ = std::move(action); }

  int reads() const { return reads_; }

 private:
  std::mutex mutex_;
  std::map<std::string, Row> rows_;
  std::function<void()> while_answering_;
  int reads_ = 0;
};

// [readme: set_path]
template <syncbus::Bus B>
class UserCache {
 public:
  UserCache(B& bus, Database& database)
      : bus_{bus},
        database_{database},
        subscription_{bus.subscribe_all([this](const syncbus::Event& event) { drop(event); },
                                        [this](const syncbus::Resync&) { drop_everything(); })} {}

  std::string get(const std::string& key) {
    {
      const std::scoped_lock lock{mutex_};
      if (const auto found = rows_.find(key); found != rows_.end()) return found->second.value;
    }
    const auto ticket = guard_.begin(key);  // before the database is read
    const Row row = database_.read(key);
    const std::scoped_lock lock{mutex_};
    if (guard_.may_store(ticket)) rows_[key] = row;  // not when somebody wrote the key meanwhile
    return row.value;
  }

  /// After an error the row is written all the same, but the others were not told: the bus is closed, or the key too
  /// long for it.
  std::error_code set(const std::string& key, const std::string& value) {
    return bus_.publish(key, store(syncbus::EventType::set, key, value));
  }

  std::error_code remove(const std::string& key) {
    return bus_.publish(key, store(syncbus::EventType::remove, key, {}));
  }

  /// Returns when so many other nodes have dropped what they had; the row is written whatever the outcome, and
  /// `published` says whether the others were told.
  syncbus::AwaitOutcome set_and_await(const std::string& key, const std::string& value, syncbus::Quorum quorum) {
    const auto written = store(syncbus::EventType::set, key, value);
    auto outcome = bus_.publish_and_await(key, quorum, {.timeout = std::chrono::milliseconds{500}, .publish = written});
    if (!outcome.published) outcome.published = !bus_.publish(key, written);  // inside a handler; too many awaits
    return outcome;
  }

 private:
  using Rows = std::map<std::string, Row, std::less<>>;

  /// Writes the row and keeps it; what to tell the others. Nothing that may throw stands between that and the write.
  syncbus::PublishOptions store(syncbus::EventType type, const std::string& key, const std::string& value) {
    Rows kept;
    Row& row = kept[key];
    const auto ticket = guard_.begin(key);
    try {
      row = database_.write(key, value);
    } catch (...) {  // a write that failed may have been done all the same
      static_cast<void>(bus_.publish(key));
      throw;
    }
    const syncbus::PublishOptions written{.type = type, .version = row.version, .scope = syncbus::Scope::remote};
    const std::scoped_lock lock{mutex_};
    const bool undisturbed = guard_.may_store(ticket);
    guard_.invalidated(key);  // for loads on this node that read the old value
    rows_.erase(key);
    if (undisturbed) rows_.merge(kept);
    return written;
  }

  void drop(const syncbus::Event& event) {
    guard_.invalidated(event.key);  // before the erase
    const std::scoped_lock lock{mutex_};
    const auto found = rows_.find(event.key);
    if (found != rows_.end() && event.supersedes(found->second.version)) rows_.erase(found);
  }

  void drop_everything() {
    guard_.invalidated_all();
    const std::scoped_lock lock{mutex_};
    rows_.clear();
  }

  B& bus_;
  Database& database_;
  syncbus::FillGuard guard_;
  std::mutex mutex_;
  Rows rows_;
  syncbus::Subscription subscription_;  // last: its handlers use everything above
};
// [end]
