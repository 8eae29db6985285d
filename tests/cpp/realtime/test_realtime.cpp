// What the audio thread must not do, seen in three ways: calls of the C library counted by watch.cpp, system calls
// killed by a filter of the kernel, and clang's RealtimeSanitizer where the tests are built with it.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "ravel/engine.h"
#include "ravel/nonblocking.h"
#include "ravel/player.h"
#include "sample_models.h"
#include "watch.h"

#if defined(__linux__)
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cstddef>
#endif

#if defined(__has_feature)
#if __has_feature(realtime_sanitizer)
#define RAVEL_REALTIME_SANITIZER
#endif
#endif

using namespace ravel;

namespace {

template <class Work>
void as_audio_thread(Work& work) noexcept RAVEL_NONBLOCKING {
  work();
}

struct Seen {
  int calls;
  std::string first;
};

// What `work` called that it must not. Nothing is seen without the watcher, as in builds with a sanitizer.
template <class Work>
Seen watched(Work work) {
  if (ravel_watch_enter) ravel_watch_enter();
  as_audio_thread(work);
  const int calls = ravel_watch_leave ? ravel_watch_leave() : 0;
  return {calls, calls ? ravel_watch_first() : ""};
}

// An engine with input to last for `hops` hops, driven as a host would.
class Driver {
 public:
  Driver(const std::shared_ptr<const Model>& model, Method method, const Settings& settings)
      : engine_(model, method, settings), info_(model->info().method(method)) {
    const auto rows = [&](int channels, int frames, std::vector<std::vector<float>>& all) {
      all.assign(static_cast<std::size_t>(settings.streams) * channels,
                 std::vector<float>(static_cast<std::size_t>(frames) * settings.max_hops, 0.25F));
    };
    rows(info_.in_channels, engine_.in_frames(), in_);
    rows(info_.out_channels, engine_.out_frames(), out_);
    for (const auto& row : in_) in_rows_.push_back(row.data());
    for (auto& row : out_) out_rows_.push_back(row.data());
  }

  void whole_hops() noexcept {
    for (int block = 0; block < 40; ++block)  // more than any buffer holds
      engine_.process(in_rows_.data(), out_rows_.data(), 1 + block % engine_.settings().max_hops);
  }

  void slices() noexcept {
    for (int slice = 0; slice < 40 * engine_.settings().slices; ++slice) {
      engine_.begin(in_rows_.data());
      engine_.advance();
      engine_.end(out_rows_.data());
    }
  }

  void turn_every_knob() noexcept {
    engine_.set_temperature(1);
    engine_.set_fill(1);
    engine_.set_noise(false);
    engine_.set_noise(true);
    engine_.set_seed(5);
    engine_.set_scale(0, 2);
    engine_.set_bias(0, 1);
    engine_.set_label_weight(1, 0.5F);
    engine_.set_prior(0.5F);
    engine_.set_prior_temperature(2);
  }

  void ask() noexcept {
    asked_ = engine_.delay() + engine_.sliced_delay_samples() + engine_.in_frames() + engine_.out_frames() +
             static_cast<int>(engine_.history_bytes()) + engine_.settings().streams;
  }

  void reset() noexcept { engine_.reset(); }

 private:
  Engine engine_;
  MethodInfo info_;
  std::vector<std::vector<float>> in_, out_;
  std::vector<const float*> in_rows_;
  std::vector<float*> out_rows_;
  int asked_ = 0;
};

std::vector<test::SampleFile> sample_files() {
  test::SampleOptions stereo, bf16;
  stereo.channels = 2;
  stereo.snake = true;
  bf16.bf16 = true;
  bf16.width = 16;
  return {test::every_op(),
          test::every_op(stereo),
          test::every_op(bf16),
          test::every_op({.quantisers = 3}),
          test::every_op({.labels = 3}),
          test::every_op({.quantisers = 3, .prior = 4}),
          test::every_op({.prior = 2, .bf16 = true}),
          test::minimal()};
}

// Calls body(model, method) for every sample, instruction set and method.
template <class Body>
void for_every_model(Body body) {
  for (const auto& file : sample_files()) {
    const auto bytes = file.bytes();
    for (const Isa isa : supported_isas()) {
      CAPTURE(name(isa));
      const auto model = Model::parse(bytes.data(), bytes.size(), isa);
      for (const Method method : kEveryMethod) {
        if (model->info().method(method).in_channels == 0) continue;
        CAPTURE(name(method));
        body(model, method);
      }
    }
  }
}

void check_clean(const Seen& seen) {
  CAPTURE(seen.first);
  CHECK(seen.calls == 0);
}

#if defined(__linux__)
// How a child process ends that runs `work`: true when it got through.
template <class Work>
bool survives(Work work) {
  const pid_t child = fork();
  if (child == 0) {
    if (!freopen("/dev/null", "w", stderr)) _exit(3);  // reports of the sanitizer that the test expects
    work();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// From here on the kernel ends this process at any system call but the one that leaves. False: it has no such filter.
bool forbid_system_calls() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  const sock_fprog filter{sizeof program / sizeof *program, program};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}
#endif

}  // namespace

TEST_CASE("whole hops neither allocate nor lock, from the first call on") {
  for_every_model([](const std::shared_ptr<const Model>& model, Method method) {
    for (const Settings settings : {Settings{1, 1}, Settings{3, 4}}) {
      Driver player(model, method, settings);
      check_clean(watched([&] { player.whole_hops(); }));
    }
  });
}

TEST_CASE("slices neither allocate nor lock, however the core is spread") {
  for_every_model([](const std::shared_ptr<const Model>& model, Method method) {
    for (const Settings settings : {Settings{1, 1, 4, 1}, Settings{2, 1, 4, 4}, Settings{1, 1, 1, 1}}) {
      Driver player(model, method, settings);
      check_clean(watched([&] { player.slices(); }));
    }
  });
}

TEST_CASE("knobs, questions and reset neither allocate nor lock") {
  for_every_model([](const std::shared_ptr<const Model>& model, Method method) {
    Driver player(model, method, {2, 2, 4, 2});
    check_clean(watched([&] {
      player.whole_hops();
      player.turn_every_knob();
      player.ask();
      player.reset();
      player.slices();
      player.turn_every_knob();
      player.reset();
      player.whole_hops();
    }));
  });
}

// The player, as a host drives it: blocks of every size, while models come and go and everything is turned.
struct Playing {
  Playing(const std::shared_ptr<const Model>& model, Method method, Mode mode, double rate_hz)
      : player(method), model_per_host(model->info().sample_rate_hz / rate_hz) {
    player.load(model);
    player.set_mode(mode);
    const MethodInfo& info = model->info().method(method);
    Host host;
    host.sample_rate_hz = rate_hz;
    host.in_channels = info.in_channels;
    host.out_channels = info.out_channels;
    player.prepare(host);
    in.assign(static_cast<std::size_t>(info.in_channels), std::vector<float>(1024, 0.25F));
    out.assign(static_cast<std::size_t>(info.out_channels), std::vector<float>(1024));
    for (const auto& row : in) in_rows.push_back(row.data());
    for (auto& row : out) out_rows.push_back(row.data());
  }

  static int frames(int block) { return 1 + block * 17 % 1024; }

  // At most so many begin in one `play`, of two models.
  int hops() const {
    int sum = 0;
    for (int block = 0; block < 60; ++block) sum += frames(block);
    return 2 * (static_cast<int>(sum * model_per_host) / 16 + 1);
  }

  void play() noexcept {
    for (int block = 0; block < 60; ++block) {
      player.process(in_rows.data(), out_rows.data(), frames(block));
      player.set(Control::drywet, static_cast<float>(block % 2));
      player.set(Control::temperature, static_cast<float>(block % 3));
      player.set(Control::noise_latent, 0.1F);
      player.set(Control::prior, 0.3F * static_cast<float>(block % 4));
      player.set(Control::prior_temperature, static_cast<float>(block % 3));
      player.set(Switch::freeze, block % 4 == 0);
      player.set(Switch::morphing, block % 5 == 0);
      player.set_latent(0, {2, 1, 0, block % 2 == 0});
      player.set_label(block % 3);
      player.set_label_weight(1, 0.1F * static_cast<float>(block % 5));
      player.store_snapshot(0);
      player.set_seed(block);
      if (block % 20 == 10) player.request_reset();
    }
  }

  Player player;
  double model_per_host;
  std::vector<std::vector<float>> in, out;
  std::vector<const float*> in_rows;
  std::vector<float*> out_rows;
};

TEST_CASE("the player neither allocates nor locks, whatever is turned and swapped") {
  const auto bytes = test::every_op({.labels = 3, .prior = 3}).bytes();
  const auto model = Model::parse(bytes.data(), bytes.size());
  const auto other = Model::parse(bytes.data(), bytes.size());
  for (const Method method : kEveryMethod) {
    for (const Mode mode : {Mode::inline_, Mode::sliced, Mode::threaded}) {
      for (const double rate_hz : {44100.0, 48000.0, 22050.0}) {
        Playing playing(model, method, mode, rate_hz);
        const auto check = [&](const Seen& seen) {
          CAPTURE(seen.first);
          if (mode == Mode::threaded) {
            CHECK((seen.calls == 0 || seen.first == "sem_post"));  // wakes the worker
            CHECK(seen.calls <= playing.hops());
          } else {
            CHECK(seen.calls == 0);
          }
        };
        check(watched([&] { playing.play(); }));
        playing.player.load(other);
        check(watched([&] { playing.play(); }));
      }
    }
  }
}

TEST_CASE("the watcher sees what it is there for") {
  if (!ravel_watch_enter) return;  // a build with a sanitizer
  std::mutex mutex;
  void* memory = nullptr;
  std::vector<char> room(64);
  const auto seen = [](auto work) { return watched(work).first; };
  CHECK(seen([&] { memory = std::malloc(8); }) == "malloc");
  CHECK(seen([&] { std::free(memory); }) == "free");
  CHECK(seen([&] { room.resize(4096); }) == "malloc");
  CHECK(seen([&] { std::string(100, 'x').swap(*std::make_unique<std::string>()); }) == "malloc");
  CHECK(seen([&] { mutex.lock(); }) == "pthread_mutex_lock");
  CHECK(seen([&] { mutex.unlock(); }).empty());
  CHECK(seen([&] { ::operator delete (::operator new (64, std::align_val_t{64}), std::align_val_t{64}); }) ==
        "aligned_alloc");
  CHECK(watched([&] { std::vector<char>(64).swap(room); }).calls == 2);  // one allocated, one freed
}

#if defined(__linux__)
TEST_CASE("no system call, the first callback included") {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(RAVEL_REALTIME_SANITIZER)
  return;  // these call the system themselves
#endif
  if (!survives([] { _exit(forbid_system_calls() ? 0 : 1); })) return;  // a kernel or an emulator without filters
  CHECK_FALSE(survives([] {
    forbid_system_calls();
    syscall(SYS_getppid);
  }));
  const auto bytes = test::every_op({.labels = 3, .prior = 3}).bytes();
  Playing playing(Model::parse(bytes.data(), bytes.size()), Method::forward, Mode::sliced, 48000);
  CHECK(survives([&] {
    forbid_system_calls();
    playing.play();
  }));
  for_every_model([](const std::shared_ptr<const Model>& model, Method method) {
    Driver whole(model, method, {2, 2}), sliced(model, method, {2, 1, 4, 2});
    CHECK(survives([&] {
      forbid_system_calls();
      whole.whole_hops();
      whole.turn_every_knob();
      whole.reset();
      sliced.slices();
    }));
  });
}
#endif

#if defined(RAVEL_REALTIME_SANITIZER)
TEST_CASE("the sanitizer sees what it is there for") {
  CHECK(survives([] { watched([] {}); }));
  static void* volatile memory;  // a pair of malloc and free alone is nothing to an optimiser
  CHECK_FALSE(survives([] { watched([] { memory = std::malloc(8); }); }));
  std::mutex mutex;
  CHECK_FALSE(survives([&] { watched([&] { mutex.lock(); }); }));
}
#endif
