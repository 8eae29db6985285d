// Reads and checks the model card.
#include "card.h"

#include <algorithm>

#include "fields.h"
#include "text.h"

namespace ravel {
namespace {

constexpr int kMaxRateHz = 1000000;
constexpr int kMaxDelaySamples = 1 << 24;  // 6 minutes at 44.1 kHz
constexpr std::size_t kMaxNameBytes = 1000;
constexpr std::size_t kMaxLabelBytes = 320;  // 80 characters

const std::string& name_of(Fields& card, const char* key) {
  const std::string& text = card.text(key);
  if (text.size() > kMaxNameBytes) card.refuse(std::string(key) + ": longer than 1000 bytes");
  return text;
}

MethodInfo read_method(Fields fields) {
  MethodInfo method;
  method.in_channels = fields.integer("in_channels", 1, kMaxChannels);
  method.in_ratio = fields.integer("in_ratio", 1, kMaxHopSamples);
  method.out_channels = fields.integer("out_channels", 1, kMaxChannels);
  method.out_ratio = fields.integer("out_ratio", 1, kMaxHopSamples);
  method.delay_samples = fields.integer("delay_samples", 0, kMaxDelaySamples);
  return method;
}

void expect(const Fields& card, Method m, const MethodInfo& got, const MethodInfo& want) {
  const auto shown = [](const MethodInfo& i) {
    return std::to_string(i.in_channels) + " at 1/" + std::to_string(i.in_ratio) + " -> " +
           std::to_string(i.out_channels) + " at 1/" + std::to_string(i.out_ratio);
  };
  if (shown(got) != shown(want)) {
    card.refuse(std::string("method ") + name(m) + " is " + shown(got) + " channels, expects " + shown(want));
  }
}

void read_methods(Fields& card, Info& info) {
  Fields methods = card.object("methods");
  for (const Method m : kEveryMethod) {
    if (m == Method::prior && !methods.has(name(m))) continue;
    info.methods[static_cast<std::size_t>(m)] = read_method(methods.object(name(m)));
  }
  const int audio = info.channels, hop = info.hop_samples;
  const int latents = info.quantisers > 0 ? info.quantisers : info.latents;
  expect(card, Method::forward, info.method(Method::forward), {audio, 1, audio, 1});
  expect(card, Method::encode, info.method(Method::encode), {audio, 1, latents, hop});
  expect(card, Method::decode, info.method(Method::decode), {latents, hop, audio, 1});
  if (methods.has(name(Method::prior))) {
    expect(card, Method::prior, info.method(Method::prior), {1, hop, latents, hop});
  }
  const auto late = [&](Method m) { return info.method(m).delay_samples; };
  if (late(Method::forward) != late(Method::encode) + late(Method::decode)) {
    card.refuse("method forward is " + std::to_string(late(Method::forward)) + " samples late, encode and decode are " +
                std::to_string(late(Method::encode)) + " + " + std::to_string(late(Method::decode)));
  }
}

bool read_weights(Fields& card) {
  const std::string& weights = card.text("weights");
  if (weights != "fp32" && weights != "bf16") card.refuse("weights: expects fp32 or bf16, got " + in_quotes(weights));
  return weights == "bf16";
}

std::vector<std::string> read_labels(Fields& card) {
  std::vector<std::string> labels;
  if (!card.has("labels")) return labels;
  for (const json::Value& value : card.array("labels")) {
    const std::string* label = value.as<std::string>();
    if (label == nullptr || label->empty() || label->size() > kMaxLabelBytes) {
      card.refuse("labels: expects names of 1 to 320 bytes");
    }
    if (std::find(labels.begin(), labels.end(), *label) != labels.end()) {
      card.refuse("labels: " + in_quotes(*label) + " comes twice");
    }
    labels.push_back(*label);
  }
  if (labels.size() < 2 || labels.size() > kMaxLabels) {
    card.refuse("labels: expects 2 to 256, got " + std::to_string(labels.size()));
  }
  return labels;
}

// What every card holds.
Info read_fields(Fields& card, const std::string& text) {
  Info info;
  info.name = name_of(card, "name");
  info.preset = name_of(card, "preset");
  info.sample_rate_hz = card.integer("sample_rate_hz", 1, kMaxRateHz);
  info.channels = card.integer("channels", 1, 2);
  info.hop_samples = card.integer("hop_samples", 1, kMaxHopSamples);
  info.latent_size = card.integer("latent_size", 1, kMaxChannels);
  info.latents = card.integer("latents", 1, info.latent_size);
  if (card.has("codes")) {
    Fields codes = card.object("codes");
    info.quantisers = codes.integer("quantisers", 1, kMaxQuantisers);
    info.codes = codes.integer("codes", 2, kMaxCodes);
  } else {
    info.temperature = card.object("attributes").object("temperature").number("default");
    if (info.temperature < 0 || info.temperature > 10) card.refuse("temperature: expects 0 to 10");
  }
  for (const json::Value& share : card.array("fidelity_curve")) {
    info.fidelity_curve.push_back(number(share, "card: fidelity_curve"));
  }
  if (info.fidelity_curve.size() != static_cast<std::size_t>(info.latent_size)) {
    card.refuse("fidelity_curve has " + std::to_string(info.fidelity_curve.size()) + " values, latent_size is " +
                std::to_string(info.latent_size));
  }
  read_methods(card, info);
  info.card = text;
  return info;
}

}  // namespace

Info read_card(const std::string& text) {
  const json::Value value = json::parse(text, "card");
  Fields card(value, "card");
  Info info = read_fields(card, text);
  info.bf16_weights = read_weights(card);
  info.labels = read_labels(card);
  return info;
}

Info read_script_card(const std::string& text) {
  const json::Value value = json::parse(text, "card");
  Fields card(value, "card");
  const bool* streaming = card.at("streaming").as<bool>();
  if (!streaming || !*streaming)
    card.refuse("the model was exported for whole files: export it again with --streaming");
  return read_fields(card, text);
}

}  // namespace ravel
