// Preloaded into Pd: counts the calls of the C library that `perform` must not make, times it, and tells at the end.
#define ravel_watch_enter watch_enter
#define ravel_watch_leave watch_leave
#include "../cpp/realtime/watch.cpp"
#undef ravel_watch_enter
#undef ravel_watch_leave

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>

namespace {

// Time of this thread's processor: what other programs take away is not the fault of `perform`.
double now_microseconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return 1e6 * static_cast<double>(time.tv_sec) + 1e-3 * static_cast<double>(time.tv_nsec);
}

constexpr int kMost = 1 << 22;
float microseconds[kMost];
int performs = 0, calls = 0;
const char* first_call = "none";
double started = 0;
const bool prove = std::getenv("RAVEL_WATCH_PROVE") != nullptr;  // what must not be, to see that it is seen
void* volatile proof = nullptr;

// One line, and every duration in the file that RAVEL_WATCH_TIMES names, as float32.
[[gnu::destructor]] void tell() {
  if (performs == 0) return;
  if (const char* path = std::getenv("RAVEL_WATCH_TIMES")) {
    if (std::FILE* file = std::fopen(path, "wb")) {
      std::fwrite(microseconds, sizeof(float), static_cast<size_t>(std::min(performs, kMost)), file);
      std::fclose(file);
    }
  }
  std::fprintf(stderr, "watch: %d performs, %d calls, first %s\n", performs, calls, first_call);
}

}  // namespace

RAVEL_EXPORT void ravel_watch_enter() {
  started = now_microseconds();
  watch_enter();
  if (!prove) return;
  proof = std::malloc(8);
  std::free(proof);
}

RAVEL_EXPORT int ravel_watch_leave() {
  const int seen = watch_leave();
  if (performs < kMost) microseconds[performs] = static_cast<float>(now_microseconds() - started);
  ++performs;
  if (seen && calls == 0) first_call = ravel_watch_first();
  calls += seen;
  return seen;
}
