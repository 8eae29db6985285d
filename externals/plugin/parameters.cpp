// The table of parameters.
#include "parameters.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace ravel::plugin {

namespace {

constexpr float kReach = 4;  // of a latent: four standard deviations

std::vector<Parameter> table() {
  const Kind number = Kind::number, toggle = Kind::toggle, choice = Kind::choice;
  std::vector<Parameter> list = {
      {"model", "Model", "", "Model", choice, 0, kBrowsed - 1, 0, {}},
      {"input_gain", "Input gain", "dB", "Sound", number, -60, 24, 0, {}},
      {"output_gain", "Output gain", "dB", "Sound", number, -60, 24, 0, {}},
      {"dry_wet", "Dry/wet", "%", "Sound", number, 0, 100, 100, {}},
      {"temperature", "Temperature", "", "Latents", number, 0, 2, 1, {}},
      {"latent_noise", "Latent noise", "", "Latents", number, 0, 2, 0, {}},
      {"fill", "Fill", "", "Latents", number, 0, 2, 0, {}},
      {"noise", "Noise", "", "Sound", toggle, 0, 1, 1, {}},
      {"freeze", "Freeze", "", "Latents", toggle, 0, 1, 0, {}},
      {"morphing", "Morphing", "", "Latents", toggle, 0, 1, 0, {}},
      {"morph", "Morph", "%", "Latents", number, 0, 100, 0, {}},
      {"width", "Width", "%", "Sound", number, 0, 200, 100, {}},
      {"stereo", "Stereo", "", "Sound", choice, 0, 2, 0, {"left and right", "mid and side", "mono"}},
      {"mode", "Mode", "", "Model", choice, 0, 2, 0, {"automatic", "lowest latency", "flattest load"}},
      {"bypass", "Bypass", "", "Sound", toggle, 0, 1, 0, {}},
      {"attack", "Attack", "ms", "Notes", number, 1, 5000, 10, {}},
      {"release", "Release", "ms", "Notes", number, 1, 10000, 200, {}},
      {"notes", "Notes", "", "Notes", choice, 0, 1, 0, {"freeze", "push"}},
  };
  for (int latent = 1; latent <= kLatents; ++latent) {
    const std::string name = "Latent " + std::to_string(latent), symbol = "latent" + std::to_string(latent);
    list.push_back({symbol + "_scale", name + " scale", "", name, number, -kReach, kReach, 1, {}});
    list.push_back({symbol + "_bias", name + " bias", "", name, number, -kReach, kReach, 0, {}});
    list.push_back({symbol + "_override", name + " override", "", name, number, -kReach, kReach, 0, {}});
    list.push_back({symbol + "_override_on", name + " override on", "", name, toggle, 0, 1, 0, {}});
  }
  for (int label = 1; label <= kLabels; ++label) {
    const std::string which = std::to_string(label);
    list.push_back({"label" + which, "Label " + which, "%", "Labels", number, 0, 100, label == 1 ? 100.0F : 0, {}});
  }
  list.push_back({"prior", "Prior", "%", "Prior", number, 0, 100, 0, {}});
  list.push_back({"prior_temperature", "Prior temperature", "", "Prior", number, 0, 2, 1, {}});
  return list;
}

}  // namespace

std::span<const Parameter> parameters() {
  static const auto& list = *new std::vector<Parameter>(table());  // never freed: audio may go on while a program ends
  return list;
}

float fitted(int parameter, float value) noexcept {
  const Parameter& about = parameters()[static_cast<std::size_t>(parameter)];
  const float inside = std::clamp(value, about.minimum, about.maximum);
  if (about.kind == Kind::toggle) return inside >= 0.5F ? 1 : 0;
  return about.kind == Kind::choice ? std::round(inside) : inside;
}

std::string text(int parameter, float value) {
  const Parameter& about = parameters()[static_cast<std::size_t>(parameter)];
  const float kept = fitted(parameter, value);
  if (about.kind == Kind::toggle) return kept > 0 ? "on" : "off";
  if (about.kind == Kind::choice) {
    const auto at = static_cast<std::size_t>(kept);
    return at < about.choices.size() ? about.choices[at] : std::to_string(at + 1);
  }
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.*f", about.unit.empty() ? 2 : about.unit == "dB" ? 1 : 0, kept);
  return about.unit.empty() ? digits : std::string(digits) + " " + about.unit;
}

}  // namespace ravel::plugin
