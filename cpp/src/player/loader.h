// Loads off the audio thread: one thread while there is something to load, the newest request only.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "ravel/model.h"

namespace ravel::player {

// A model file is in memory once, however many ask for it: the same as long as the file has not changed.
std::shared_ptr<const Model> load_shared(const std::string& path);

struct Request {
  std::string path;
  std::shared_ptr<const Model> model;  // in place of a file
};

class Loader {
 public:
  explicit Loader(std::function<void(const Request&)> work) : work_(std::move(work)) {}
  ~Loader();

  void submit(Request request);
  void wait();
  void stop();  // what is being read is finished, nothing else begun
  bool busy() const noexcept { return busy_.load(); }

 private:
  void loop();

  std::function<void(const Request&)> work_;
  std::mutex mutex_;
  std::condition_variable idle_;
  std::optional<Request> next_;
  std::atomic<bool> busy_{false};
  std::thread thread_;
};

}  // namespace ravel::player
