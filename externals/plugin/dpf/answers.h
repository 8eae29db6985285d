// What the adapted files of DPF (adapt.cmake) ask the plugin.
#pragma once

#include <cstdint>

// Samples for which sound goes on after its input has ended; the largest number: for ever.
std::uint32_t ravel_tail_samples(void* plugin_instance) noexcept;

// Whether the host renders rather than plays.
void ravel_set_offline(void* plugin_instance, bool on);

// A parameter's value as people write it, with or without its unit.
struct RavelNumber {
  RavelNumber(std::uint32_t parameter, double value, bool with_unit);
  char text[64];
};
