// Whether this process is the one that made an object, or a child that was forked off it since.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>

namespace syncbus::inline v1::detail {

/// Copies mark the same moment. A page that the kernel wipes in a child (Linux 4.14) tells for the price of a load,
/// which getpid() does not, and needs nothing that shared objects would have to agree on. Where the kernel refuses such
/// a page, process ids are compared.
///
/// In a child the threads of its parent do not exist, and locks that they held are never released: who finds himself
/// forked() takes no lock, waits for nobody, writes to no descriptor that he shares with the parent, and destroys
/// nothing that would: see leave_behind().
class ForkMark {
 public:
  ForkMark() : page_{make_page()}, process_{page_->load() != 0 ? no_process : ::getpid()} {}

  [[nodiscard]] bool forked() const noexcept {
    return page_->load(std::memory_order_relaxed) == 0 && process_ != ::getpid();
  }

 private:
  using Byte = std::atomic<unsigned char>;

  static constexpr pid_t no_process = -1;

  [[nodiscard]] static std::shared_ptr<const Byte> make_page() {
#ifdef MADV_WIPEONFORK
    const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) {
      const std::shared_ptr<void> owned{memory, [size](void* page) { ::munmap(page, size); }};
      if (::madvise(memory, size, MADV_WIPEONFORK) == 0) return {owned, ::new (memory) Byte{1}};
    }
#endif
    return std::make_shared<const Byte>(0);
  }

  std::shared_ptr<const Byte> page_;  ///< 0: look at the process
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
  } never{std::move(object)};
  auto* const kept = new (std::nothrow) Kept{never.object, nullptr};
  if (kept == nullptr) return;
  kept->next = last.load(std::memory_order_relaxed);
  while (!last.compare_exchange_weak(kept->next, kept, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

}  // namespace syncbus::inline v1::detail
