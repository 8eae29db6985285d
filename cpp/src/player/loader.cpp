// The loader's thread ends when nothing is left to load, so an idle player has none.
#include "player/loader.h"

#include <filesystem>
#include <map>

namespace ravel::player {

namespace {

struct Key {
  std::filesystem::path path;
  std::filesystem::file_time_type changed;
  std::uintmax_t bytes = 0;
  auto operator<=>(const Key&) const = default;
};

Key key_of(const std::string& path) {
  std::error_code error;  // a file that cannot be asked is a matter for Model::load
  const auto full = std::filesystem::canonical(path, error);
  if (error) return {};
  Key key{full, std::filesystem::last_write_time(full, error), 0};
  key.bytes = std::filesystem::file_size(full, error);
  return error ? Key{} : key;
}

}  // namespace

std::shared_ptr<const Model> load_shared(const std::string& path) {
  static auto& mutex = *new std::mutex;  // never freed: a thread may load until the very end of the program
  static auto& models = *new std::map<Key, std::weak_ptr<const Model>>;
  const std::lock_guard lock(mutex);  // held while reading, so that the second player finds what the first one reads
  std::erase_if(models, [](const auto& entry) { return entry.second.expired(); });
  const Key key = key_of(path);
  if (const auto found = models.find(key); found != models.end()) {
    if (auto model = found->second.lock()) return model;
  }
  auto model = Model::load(path);
  if (!key.path.empty()) models[key] = model;
  return model;
}

Loader::~Loader() { stop(); }

void Loader::stop() {
  {
    const std::lock_guard lock(mutex_);
    next_.reset();
  }
  if (thread_.joinable()) thread_.join();
}

void Loader::submit(Request request) {
  const std::lock_guard lock(mutex_);
  next_ = std::move(request);
  if (busy_) return;
  if (thread_.joinable()) thread_.join();  // it has ended, or is about to
  busy_ = true;
  thread_ = std::thread([this] { loop(); });
}

void Loader::wait() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return !busy_; });
}

void Loader::loop() {
  for (;;) {
    Request request;
    {
      const std::lock_guard lock(mutex_);
      if (!next_) {
        busy_ = false;
        idle_.notify_all();
        return;
      }
      request = std::move(*next_);
      next_.reset();
    }
    work_(request);
  }
}

}  // namespace ravel::player
