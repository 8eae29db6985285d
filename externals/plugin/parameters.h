// Every parameter of the plugin, in the order that hosts know: ids follow from it, so new ones go to the end.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace ravel::plugin {

inline constexpr int kLatents = 16;   // of a model that have parameters: the strongest come first
inline constexpr int kLabels = 8;     // of a model that have parameters: the first
inline constexpr int kBrowsed = 128;  // models of a folder that a parameter can choose among

enum class Kind { number, toggle, choice };

struct Parameter {
  std::string symbol, name, unit, group;  // symbol: [a-z0-9_], for LV2 and CLAP, never changed
  Kind kind = Kind::number;
  float minimum = 0, maximum = 1, initial = 0;
  std::vector<std::string> choices;  // of Kind::choice, by value; none: a number that only counts
};

// Single ones, four a latent, then what came later.
enum Id : int {
  kModel,  // within the folder of the model that plays, by name
  kInputGain,
  kOutputGain,
  kDryWet,
  kTemperature,
  kLatentNoise,
  kFill,
  kNoise,
  kFreeze,
  kMorphing,
  kMorph,
  kWidth,
  kStereo,  // by Stereo
  kMode,    // automatic, lowest latency, flattest load
  kBypass,
  kAttack,  // of notes
  kRelease,
  kNotes,  // what they do, by Notes
  kFirstLatent
};
enum LatentId : int { kScale, kBias, kOverride, kOverrideOn, kLatentIds };

// Mono: the mean of both sides, at half the load.
enum class Stereo { left_right, mid_side, mono };
// Of an effect. Freeze: the sound of the moment is held while a note sounds. Push: its pitch moves the first latent and
// its velocity the second, as far as attack and release let them.
enum class Notes { freeze, push };

inline constexpr int id(int latent, LatentId which) { return kFirstLatent + kLatentIds * latent + which; }
// The weights of the labels, then how far and how freely the model plays by itself.
enum LaterId : int {
  kFirstLabel = kFirstLatent + kLatentIds * kLatents,
  kPrior = kFirstLabel + kLabels,
  kPriorTemperature,
  kParameters
};

std::span<const Parameter> parameters();  // kParameters of them

// Within its range, whole where it is a choice or toggle.
float fitted(int parameter, float value) noexcept;

// "-6.0 dB", "sliced", "on"
std::string text(int parameter, float value);

}  // namespace ravel::plugin
