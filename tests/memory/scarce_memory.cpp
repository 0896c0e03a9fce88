#include "memory/scarce_memory.hpp"

#include <cstdlib>
#include <new>

namespace {

struct State {
  bool scarce = false;
  bool for_good = false;
  bool failed = false;
  std::size_t left = 0;
};

constinit thread_local State state;

void* allocate(std::size_t size, std::size_t alignment) {
  if (state.scarce) {
    if (state.left != 0) {
      --state.left;
    } else if (!state.failed || state.for_good) {
      state.failed = true;
      throw std::bad_alloc{};
    }
  }
  void* const memory = alignment <= alignof(std::max_align_t)
                           ? std::malloc(size)
                           : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc{};
  return memory;
}

}  // namespace

namespace memory {

ScarceMemory::ScarceMemory(std::size_t left, bool for_good) noexcept { state = {true, for_good, false, left}; }
ScarceMemory::~ScarceMemory() { state.scarce = false; }
std::size_t ScarceMemory::left() noexcept { return state.left; }
bool ScarceMemory::failed() noexcept { return state.failed; }

}  // namespace memory

// All of them: a sanitizer has its own for whatever is not replaced.
void* operator new(std::size_t size) { return allocate(size, 1); }
void* operator new[](std::size_t size) { return allocate(size, 1); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept try {
  return allocate(size, 1);
} catch (const std::bad_alloc&) {
  return nullptr;
}
void* operator new[](std::size_t size, const std::nothrow_t& tag) noexcept { return ::operator new(size, tag); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
