// A counting semaphore of the system: `post` is one call at most and never blocks.
#pragma once

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>
#elif defined(__APPLE__)
#include <dispatch/dispatch.h>
#else
#include <semaphore.h>
#include <cerrno>
#endif

namespace ravel::player {

class Semaphore {
 public:
#if defined(_WIN32)
  Semaphore() : handle_(CreateSemaphoreW(nullptr, 0, 0x7FFFFFFF, nullptr)) {}
  ~Semaphore() { CloseHandle(handle_); }
  void post() noexcept { ReleaseSemaphore(handle_, 1, nullptr); }
  void wait() noexcept { WaitForSingleObject(handle_, INFINITE); }
#elif defined(__APPLE__)
  Semaphore() : handle_(dispatch_semaphore_create(0)) {}
  ~Semaphore() { dispatch_release(handle_); }
  void post() noexcept { dispatch_semaphore_signal(handle_); }
  void wait() noexcept { dispatch_semaphore_wait(handle_, DISPATCH_TIME_FOREVER); }
#else
  Semaphore() { sem_init(&handle_, 0, 0); }
  ~Semaphore() { sem_destroy(&handle_); }
  void post() noexcept { sem_post(&handle_); }
  void wait() noexcept {
    while (sem_wait(&handle_) != 0 && errno == EINTR) {}
  }
#endif
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

 private:
#if defined(_WIN32)
  HANDLE handle_;
#elif defined(__APPLE__)
  dispatch_semaphore_t handle_;
#else
  sem_t handle_;
#endif
};

}  // namespace ravel::player
