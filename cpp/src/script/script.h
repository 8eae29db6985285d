// TorchScript models of the nn~ protocol, where the build has libtorch: nothing of it is seen from here.
#pragma once

#include <cstddef>
#include <memory>

#include "engine/running.h"
#include "ravel/model.h"

namespace ravel::script {

class Script;

// Reads a whole file and fills `info`, whose name stays empty where the file has none. Throws Error.
std::shared_ptr<const Script> load(const std::byte* bytes, std::size_t size, Info& info);

// A method with histories and attributes of its own. Throws Error for a method that the script lacks and for slices.
std::unique_ptr<engine::Running> run(const std::shared_ptr<const Model>& model, Method method,
                                     const Settings& settings);

std::size_t weight_bytes(const Script& script) noexcept;

}  // namespace ravel::script
