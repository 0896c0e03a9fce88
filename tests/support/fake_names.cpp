// Stands before the C library's getaddrinfo, also for the clients' libraries: a program's own symbols come first.
#include "support/fake_names.hpp"

#include <dlfcn.h>
#include <netdb.h>

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace {

struct Name {
  std::vector<std::string> addresses;
  bool held = false;
  int waiting = 0;
};

struct Names {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, Name> known;
};

Names& names() {
  static Names all;
  return all;
}

using Resolve = int (*)(const char*, const char*, const addrinfo*, addrinfo**);

int resolve_really(const char* node, const char* service, const addrinfo* hints, addrinfo** result) {
  static const auto really = reinterpret_cast<Resolve>(::dlsym(RTLD_NEXT, "getaddrinfo"));
  return really(node, service, hints, result);
}

/// The addresses of one made-up name, or none.
std::vector<std::string> look_up(const std::string& host) {
  std::unique_lock lock{names().mutex};
  const auto found = names().known.find(host);
  if (found == names().known.end()) return {};
  Name& name = found->second;
  ++name.waiting;
  names().changed.notify_all();
  names().changed.wait_for(lock, std::chrono::minutes{1}, [&] { return !name.held; });
  const auto addresses = name.addresses;
  --name.waiting;
  names().changed.notify_all();
  return addresses;
}

}  // namespace

namespace support {

FakeName::FakeName(std::string host, std::vector<std::string> addresses) : host_{std::move(host)} {
  const std::lock_guard lock{names().mutex};
  names().known[host_].addresses = std::move(addresses);
}

FakeName::~FakeName() {
  hold(false);
  std::unique_lock lock{names().mutex};
  names().changed.wait(lock, [&] { return names().known[host_].waiting == 0; });
  names().known.erase(host_);
}

void FakeName::hold(bool held) {
  const std::lock_guard lock{names().mutex};
  names().known[host_].held = held;
  names().changed.notify_all();
}

int FakeName::waiting() const {
  const std::lock_guard lock{names().mutex};
  return names().known[host_].waiting;
}

}  // namespace support

extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints, addrinfo** result) {
  const bool numeric = hints != nullptr && (hints->ai_flags & AI_NUMERICHOST) != 0;
  const auto addresses = node == nullptr || numeric ? std::vector<std::string>{} : look_up(node);
  if (addresses.empty()) return resolve_really(node, service, hints, result);
  addrinfo** end = result;
  *result = nullptr;
  for (const std::string& address : addresses) {  // the C library frees them one by one
    if (resolve_really(address.c_str(), service, hints, end) != 0) continue;
    while (*end != nullptr) end = &(*end)->ai_next;
  }
  return *result == nullptr ? EAI_NONAME : 0;
}
