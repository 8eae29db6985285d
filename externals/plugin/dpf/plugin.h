// The plugin as DPF's formats see it; how the interface, in the same process, gets at its shell.
#pragma once

#include "shell.h"

namespace ravel::plugin {

// `plugin_instance`: what UI::getPluginInstancePointer() gives.
Shell& shell_of(void* plugin_instance) noexcept;

}  // namespace ravel::plugin
