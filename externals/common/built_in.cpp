// Built-in models, read when the first one wants to play it.
#include "built_in.h"

#include <map>
#include <mutex>

namespace ravel {

std::shared_ptr<const Model> built_in_model(std::span<const std::byte> bytes) {
  static auto& mutex = *new std::mutex;  // never freed: a plugin may be made until the very end of the program
  static auto& models = *new std::map<const std::byte*, std::weak_ptr<const Model>>;
  const std::lock_guard lock(mutex);
  auto model = models[bytes.data()].lock();
  if (!model) models[bytes.data()] = model = Model::parse(bytes.data(), bytes.size());
  return model;
}

}  // namespace ravel
