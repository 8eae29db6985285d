// See status.h.
#include "status.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace ravel::plugin {

namespace {

// What it was trained on, in words, as far as the card knows.
std::string training_note(const std::string& card) {
  const auto json = nlohmann::json::parse(card, nullptr, false);
  const nlohmann::json* at = &json;
  for (const char* key : {"training", "corpus"}) {
    if (!at->is_object() || !at->contains(key)) return "";
    at = &(*at)[key];
  }
  if (!at->is_object() || !at->contains("recordings") || !at->contains("seconds")) return "";
  const auto &recordings = (*at)["recordings"], &seconds = (*at)["seconds"];
  if (!recordings.is_number() || !seconds.is_number()) return "";
  const long minutes = std::lround(seconds.get<double>() / 60);
  return std::to_string(recordings.get<int>()) + " recordings, " + std::to_string(minutes) + " min";
}

}  // namespace

Status status_of(const Info& model) {
  Status status;
  status.name = model.name;
  status.preset = model.preset;
  status.note = training_note(model.card);
  status.sample_rate_hz = model.sample_rate_hz;
  status.channels = model.channels;
  status.latents = model.latents;
  status.quantisers = model.quantisers;
  status.codes = model.codes;
  if (model.quantisers > 0 && model.hop_samples > 0)
    status.bits_per_second = model.quantisers * std::log2(model.codes) * model.sample_rate_hz / model.hop_samples;
  status.labels = model.labels;
  status.prior = has_prior(model);
  status.fidelity_curve = model.fidelity_curve;
  return status;
}

}  // namespace ravel::plugin
