// C11's threads, which librdkafka is built on: none, if a test wants that. And over POSIX ones, for the thread sanitizer:
// it knows nothing of thrd_create and mtx_lock, and would take each of their hand-overs for a race. A program's own
// symbols come before those of libc.
#include "support/c11_threads.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <threads.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <memory>

std::atomic<bool>& support::has_no_c11_threads() noexcept {
  static std::atomic<bool> none = false;
  return none;
}

#ifndef __SANITIZE_THREAD__
extern "C" int thrd_create(thrd_t* thread, thrd_start_t function, void* argument) {
  if (support::has_no_c11_threads()) return thrd_error;
  static const auto next = reinterpret_cast<decltype(&thrd_create)>(::dlsym(RTLD_NEXT, "thrd_create"));
  return next(thread, function, argument);
}
#else

namespace {

// In glibc the objects are the same.
static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t) && alignof(mtx_t) == alignof(pthread_mutex_t));
static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t) && alignof(cnd_t) == alignof(pthread_cond_t));
static_assert(sizeof(thrd_t) == sizeof(pthread_t));

pthread_mutex_t* posix(mtx_t* mutex) { return reinterpret_cast<pthread_mutex_t*>(mutex); }
pthread_cond_t* posix(cnd_t* condition) { return reinterpret_cast<pthread_cond_t*>(condition); }

int result_of(int error) {
  if (error == 0) return thrd_success;
  return error == ETIMEDOUT ? thrd_timedout : thrd_error;
}

struct Start {
  thrd_start_t function;
  void* argument;
};

void* run(void* start) {
  const std::unique_ptr<Start> owned{static_cast<Start*>(start)};
  return reinterpret_cast<void*>(static_cast<std::intptr_t>(owned->function(owned->argument)));
}

}  // namespace

extern "C" {

// What it hands over by atomics alone, above all the last reference to what it frees, remains unseen.
const char* __tsan_default_suppressions() { return "race:librdkafka\n"; }

int thrd_create(thrd_t* thread, thrd_start_t function, void* argument) {
  if (support::has_no_c11_threads()) return thrd_error;
  auto start = std::make_unique<Start>(Start{function, argument});
  const int result = result_of(pthread_create(thread, nullptr, &run, start.get()));
  if (result == thrd_success) static_cast<void>(start.release());
  return result;
}

int thrd_join(thrd_t thread, int* result) {
  void* returned = nullptr;
  const int error = pthread_join(thread, &returned);
  if (result != nullptr) *result = static_cast<int>(reinterpret_cast<std::intptr_t>(returned));
  return result_of(error);
}

int mtx_init(mtx_t* mutex, int type) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  if ((type & mtx_recursive) != 0) pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  const int error = pthread_mutex_init(posix(mutex), &attributes);
  pthread_mutexattr_destroy(&attributes);
  return result_of(error);
}
void mtx_destroy(mtx_t* mutex) { pthread_mutex_destroy(posix(mutex)); }
int mtx_lock(mtx_t* mutex) { return result_of(pthread_mutex_lock(posix(mutex))); }
int mtx_unlock(mtx_t* mutex) { return result_of(pthread_mutex_unlock(posix(mutex))); }

int cnd_init(cnd_t* condition) { return result_of(pthread_cond_init(posix(condition), nullptr)); }
void cnd_destroy(cnd_t* condition) { pthread_cond_destroy(posix(condition)); }
int cnd_signal(cnd_t* condition) { return result_of(pthread_cond_signal(posix(condition))); }
int cnd_broadcast(cnd_t* condition) { return result_of(pthread_cond_broadcast(posix(condition))); }
int cnd_wait(cnd_t* condition, mtx_t* mutex) { return result_of(pthread_cond_wait(posix(condition), posix(mutex))); }
int cnd_timedwait(cnd_t* condition, mtx_t* mutex, const timespec* until) {
  return result_of(pthread_cond_timedwait(posix(condition), posix(mutex), until));
}

}  // extern "C"
#endif
