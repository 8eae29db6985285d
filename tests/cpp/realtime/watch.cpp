// Stands between a program and the C library: allocation, locks, sleep and files, counted while a thread is watched.
#include "watch.h"

#include <dlfcn.h>

#include <cerrno>
#include <cstddef>

// The allocator by its inner names: dlsym itself allocates.
extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* old, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
void __libc_free(void* memory);
}

#define RAVEL_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

// Initial-exec storage exists from a thread's start: touching it neither allocates nor locks.
[[gnu::tls_model("initial-exec")]] thread_local bool watched = false;
[[gnu::tls_model("initial-exec")]] thread_local int seen = 0;
[[gnu::tls_model("initial-exec")]] thread_local const char* first = "";

void note(const char* name) {
  if (!watched) return;
  if (seen++ == 0) first = name;
}

int aligned(void** memory, size_t alignment, size_t size) {
  *memory = __libc_memalign(alignment, size);
  return *memory ? 0 : ENOMEM;
}

}  // namespace

RAVEL_EXPORT void ravel_watch_enter() {
  seen = 0;
  first = "";
  watched = true;
}
RAVEL_EXPORT int ravel_watch_leave() {
  watched = false;
  return seen;
}
RAVEL_EXPORT const char* ravel_watch_first() { return first; }

// Defines NAME of the C library as: note it, then CALL. The label keeps clear of the headers' declarations.
#define RAVEL_WATCH(NAME, RESULT, PARAMETERS, CALL)             \
  RAVEL_EXPORT RESULT watched_##NAME PARAMETERS __asm__(#NAME); \
  RAVEL_EXPORT RESULT watched_##NAME PARAMETERS {               \
    note(#NAME);                                                \
    return CALL;                                                \
  }
// The same where CALL goes to the function of that name that comes next in the search order.
#define RAVEL_WATCH_NEXT(NAME, RESULT, PARAMETERS, ARGUMENTS)                      \
  RESULT(*next_##NAME) PARAMETERS = nullptr;                                       \
  [[gnu::constructor]] void find_##NAME() {                                        \
    next_##NAME = reinterpret_cast<RESULT(*) PARAMETERS>(dlsym(RTLD_NEXT, #NAME)); \
  }                                                                                \
  RAVEL_WATCH(NAME, RESULT, PARAMETERS, (next_##NAME ? void() : find_##NAME(), next_##NAME ARGUMENTS))

RAVEL_WATCH(malloc, void*, (size_t size), __libc_malloc(size))
RAVEL_WATCH(calloc, void*, (size_t count, size_t size), __libc_calloc(count, size))
RAVEL_WATCH(realloc, void*, (void* old, size_t size), __libc_realloc(old, size))
RAVEL_WATCH(free, void, (void* memory), __libc_free(memory))
RAVEL_WATCH(aligned_alloc, void*, (size_t alignment, size_t size), __libc_memalign(alignment, size))
RAVEL_WATCH(memalign, void*, (size_t alignment, size_t size), __libc_memalign(alignment, size))
RAVEL_WATCH(posix_memalign, int, (void** memory, size_t alignment, size_t size), aligned(memory, alignment, size))

namespace {

RAVEL_WATCH_NEXT(pthread_mutex_lock, int, (void* mutex), (mutex))
RAVEL_WATCH_NEXT(pthread_mutex_trylock, int, (void* mutex), (mutex))
RAVEL_WATCH_NEXT(pthread_rwlock_rdlock, int, (void* lock), (lock))
RAVEL_WATCH_NEXT(pthread_rwlock_wrlock, int, (void* lock), (lock))
RAVEL_WATCH_NEXT(pthread_spin_lock, int, (void* lock), (lock))
RAVEL_WATCH_NEXT(pthread_cond_wait, int, (void* condition, void* mutex), (condition, mutex))
RAVEL_WATCH_NEXT(pthread_cond_signal, int, (void* condition), (condition))
RAVEL_WATCH_NEXT(pthread_cond_broadcast, int, (void* condition), (condition))
RAVEL_WATCH_NEXT(pthread_create, int, (void* thread, const void* how, void* (*main)(void*), void* data),
                 (thread, how, main, data))
RAVEL_WATCH_NEXT(sem_wait, int, (void* semaphore), (semaphore))
RAVEL_WATCH_NEXT(sem_post, int, (void* semaphore), (semaphore))
RAVEL_WATCH_NEXT(nanosleep, int, (const void* time, void* left), (time, left))
RAVEL_WATCH_NEXT(clock_nanosleep, int, (int clock, int flags, const void* time, void* left), (clock, flags, time, left))
RAVEL_WATCH_NEXT(usleep, int, (unsigned microseconds), (microseconds))
RAVEL_WATCH_NEXT(sched_yield, int, (), ())
RAVEL_WATCH_NEXT(mmap, void*, (void* at, size_t size, int access, int flags, int file, long offset),
                 (at, size, access, flags, file, offset))
RAVEL_WATCH_NEXT(munmap, int, (void* at, size_t size), (at, size))
RAVEL_WATCH_NEXT(madvise, int, (void* at, size_t size, int advice), (at, size, advice))
RAVEL_WATCH_NEXT(read, long, (int file, void* data, size_t size), (file, data, size))
RAVEL_WATCH_NEXT(write, long, (int file, const void* data, size_t size), (file, data, size))
RAVEL_WATCH_NEXT(fopen, void*, (const char* path, const char* mode), (path, mode))
RAVEL_WATCH_NEXT(fwrite, size_t, (const void* data, size_t size, size_t count, void* file), (data, size, count, file))
RAVEL_WATCH_NEXT(puts, int, (const char* text), (text))

}  // namespace
