// Detects a fork: whether this process made an object, or is a child that was forked off since.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

namespace syncbus::inline v1::detail {

/// A byte that the kernel wipes in a child (Linux 4.14): it tells for the price of a load, where getpid() is a system
/// call; shared objects need not agree on anything; and process ids that come back, as they do in containers, do not
/// mislead it. Where the kernel refuses such a page, process ids are compared.
class ForkByte {
 public:
  using Byte = std::atomic<unsigned char>;

  /// Never freed unless free() is called. Null when there is none.
  [[nodiscard]] static const Byte* map() noexcept {
#ifdef MADV_WIPEONFORK
    void* const memory = ::mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
    if (::madvise(memory, size(), MADV_WIPEONFORK) == 0) return ::new (memory) Byte{1};
    ::munmap(memory, size());
#endif
    return nullptr;
  }
  static void free(const Byte* byte) noexcept {
    if (byte != nullptr) ::munmap(const_cast<Byte*>(byte), size());
  }

 private:
  [[nodiscard]] static std::size_t size() noexcept { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }
};

/// Copies mark the same moment.
///
/// In a child the threads of its parent do not exist, and locks that they held are never released. So code that is
/// forked() takes no lock (ProcessMutex sees to that), waits for nobody, writes to no descriptor that it shares with
/// the parent, and destroys nothing whose destructor would: see leave_behind().
class ForkMark {
 public:
  ForkMark() : owned_{ForkByte::map(), ForkByte::free}, byte_{owned_ ? owned_.get() : &none}, process_{::getpid()} {}

  [[nodiscard]] bool forked() const noexcept {
    return byte_->load(std::memory_order_relaxed) == 0 && (owned_ != nullptr || process_ != ::getpid());
  }

  /// Called each time user code has returned to the library. A child that was forked inside that code ends here, with a
  /// sentence: otherwise it would go on with the parent's handlers and I/O.
  void require_parent() const noexcept {
    if (forked()) [[unlikely]]
      end_child();
  }

 private:
  inline static constinit const ForkByte::Byte none{0};  ///< look at the process

  [[noreturn]] [[gnu::cold]] [[gnu::noinline]] static void end_child() noexcept {
    std::fputs(
        "syncbus: a child that was forked inside a handler has returned from it, and the bus works in its parent only; "
        "end the child, or have it run another program, inside the handler\n",
        stderr);
    std::abort();
  }

  std::shared_ptr<const ForkByte::Byte> owned_;
  const ForkByte::Byte* byte_;
  pid_t process_;
};

/// Keeps what the parent's threads were using for ever: its destructor would wait for them. It stays reachable, so that
/// no tool calls it a leak.
inline void leave_behind(std::shared_ptr<const void> object) noexcept {
  struct Kept {
    std::shared_ptr<const void> object;
    const Kept* next;
  };
  static constinit std::atomic<const Kept*> last{nullptr};
  // Without memory for the list, a copy whose destructor never runs keeps it as well.
  union Never {
    explicit Never(std::shared_ptr<const void>&& kept) noexcept : object{std::move(kept)} {}
    ~Never() {}
    std::shared_ptr<const void> object;
  } copy{std::move(object)};
  auto* const kept = new (std::nothrow) Kept{copy.object, nullptr};
  if (kept == nullptr) return;
  kept->next = last.load(std::memory_order_relaxed);
  while (!last.compare_exchange_weak(kept->next, kept, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

}  // namespace syncbus::inline v1::detail
