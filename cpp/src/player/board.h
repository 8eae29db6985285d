// What a performer turns, as atomics: written by any thread, read once a block or hop by those that play.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ravel/player.h"

namespace ravel::player {

constexpr int kMostLatents = 256;  // that can be shaped; the others pass
constexpr int kMostStreams = 4;    // whose latents are shown and stored apart

struct LatentBoard {
  std::atomic<float> scale{1}, bias{0}, override_value{0};
  std::atomic<bool> override_on{false};
};

// Latents of every stream, as played or as stored.
struct Frame {
  float at(int stream, int latent) const noexcept {
    return values[index(stream, latent)].load(std::memory_order_relaxed);
  }
  void put(int stream, int latent, float value) noexcept {
    values[index(stream, latent)].store(value, std::memory_order_relaxed);
  }

  std::array<std::atomic<float>, kMostStreams * kMostLatents> values{};

 private:
  static std::size_t index(int stream, int latent) noexcept {
    return static_cast<std::size_t>(std::min(stream, kMostStreams - 1) * kMostLatents + latent);
  }
};

// What goes wrong, or should be known: the newest only. Not for the audio thread.
class Messages {
 public:
  void say(std::string text);
  std::string take();
  MessageHook hook() noexcept;

 private:
  std::mutex mutex_;
  std::string newest_;
};

// Attributes of a script: the calls that set them, in order, for the engine that plays and for those to come; and what
// they are by the word of the one that plays. Not for the audio thread.
class AttributeBoard {
 public:
  struct Call {
    std::int64_t serial = 0;  // from 1
    std::string name;
    Values values;
  };

  void set(const std::string& name, Values values);
  std::int64_t newest() const noexcept { return newest_.load(std::memory_order_acquire); }
  std::vector<Call> after(std::int64_t serial) const;
  // After the call `serial`, by an engine of the model with this info.
  void tell(const Info* model, std::int64_t serial, const std::string& name, Values values);
  // As set, where that is still to be played; else as told of this model; else nothing.
  std::optional<Values> get(const Info* model, const std::string& name) const;

 private:
  struct Told {
    const Info* model = nullptr;
    std::int64_t serial = 0;
    Values values;
  };

  mutable std::mutex mutex_;
  std::vector<Call> calls_;
  std::map<std::string, Told> told_;
  std::atomic<std::int64_t> newest_{0};
};

struct Board {
  Board() noexcept;

  float value(Control control) const noexcept;
  bool on(Switch which) const noexcept;

  static constexpr int kFree = 0, kHold = 1, kSnapshot = 2;  // kSnapshot + slot

  std::array<std::atomic<float>, static_cast<std::size_t>(Control::count_)> controls;
  std::array<std::atomic<bool>, static_cast<std::size_t>(Switch::count_)> switches;  // freeze lives in `hold`
  std::atomic<int> hold{kFree};
  std::atomic<std::int64_t> seed{0};
  std::array<LatentBoard, kMostLatents> latents;
  Frame heard;
  std::array<Frame, 2> snapshots;
  AttributeBoard attributes;
  Messages messages;
};

}  // namespace ravel::player
