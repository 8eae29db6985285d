// DPF's calls, handed to the shell.
#include "dpf/plugin.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include "DistrhoPlugin.hpp"
#include "built_in.h"
#include "dpf/answers.h"

START_NAMESPACE_DISTRHO

namespace {

namespace plugin = ravel::plugin;

constexpr plugin::Form kForm = RAVEL_PLUGIN_INSTRUMENT ? plugin::Form::instrument : plugin::Form::effect;
constexpr std::uint32_t kMostEvents = 1024;  // of a block; more than any host sends

// In the order of the table, each once.
std::vector<std::string> groups() {
  std::vector<std::string> names;
  for (const plugin::Parameter& parameter : plugin::parameters()) {
    if (std::find(names.begin(), names.end(), parameter.group) == names.end()) names.push_back(parameter.group);
  }
  return names;
}

std::string symbol_of(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return std::isalnum(c) ? static_cast<char>(std::tolower(c)) : '_'; });
  return name;
}

}  // namespace

class RavelPlugin : public Plugin {
 public:
  RavelPlugin()
      : Plugin(plugin::kParameters, 0, static_cast<std::uint32_t>(plugin::Shell::state_keys().size())),
        shell(kForm, ravel::built_in_bytes()) {
    // For hosts that cannot hand over a file, such as the standalone in a script.
    if (const char* model = std::getenv("RAVEL_MODEL"); model && *model && !isDummyInstance()) shell.open(model);
  }

  plugin::Shell shell;

 protected:
  const char* getLabel() const override { return RAVEL_PLUGIN_LABEL; }
  const char* getDescription() const override {
    return kForm == plugin::Form::effect ? "An instrument learnt from recordings, played with sound"
                                         : "An instrument learnt from recordings, played with notes";
  }
  const char* getMaker() const override { return DISTRHO_PLUGIN_BRAND; }
  const char* getLicense() const override { return "MIT"; }
  std::uint32_t getVersion() const override {
    return d_version(RAVEL_VERSION_MAJOR, RAVEL_VERSION_MINOR, RAVEL_VERSION_PATCH);
  }
  std::int64_t getUniqueId() const override { return RAVEL_PLUGIN_UNIQUE_ID; }

  void initAudioPort(bool input, std::uint32_t index, AudioPort& port) override {
    port.groupId = kPortGroupStereo;
    Plugin::initAudioPort(input, index, port);
  }

  void initParameter(std::uint32_t index, Parameter& parameter) override {
    const plugin::Parameter& about = plugin::parameters()[index];
    if (index == plugin::kBypass) return parameter.initDesignation(kParameterDesignationBypass);
    parameter.hints = kParameterIsAutomatable;
    if (about.kind == plugin::Kind::toggle) parameter.hints |= kParameterIsBoolean | kParameterIsInteger;
    if (about.kind == plugin::Kind::choice) parameter.hints |= kParameterIsInteger;
    parameter.name = about.name.c_str();
    parameter.symbol = about.symbol.c_str();
    parameter.unit = about.unit.c_str();
    parameter.ranges = ParameterRanges(about.initial, about.minimum, about.maximum);
    const std::vector<std::string> names = groups();
    parameter.groupId = static_cast<std::uint32_t>(std::find(names.begin(), names.end(), about.group) - names.begin());
    const std::vector<std::string> labels =
        about.kind == plugin::Kind::toggle ? std::vector<std::string>{"off", "on"} : about.choices;
    if (labels.empty()) return;
    parameter.enumValues.count = static_cast<std::uint8_t>(labels.size());
    parameter.enumValues.restrictedMode = about.kind == plugin::Kind::choice;
    parameter.enumValues.values = new ParameterEnumerationValue[labels.size()];
    for (std::size_t i = 0; i < labels.size(); ++i) {
      parameter.enumValues.values[i].value = static_cast<float>(i);
      parameter.enumValues.values[i].label = labels[i].c_str();
    }
  }

  void initPortGroup(std::uint32_t group, PortGroup& port_group) override {
    const std::string name = groups()[group];
    port_group.name = name.c_str();
    port_group.symbol = symbol_of(name).c_str();
  }

  void initState(std::uint32_t index, State& state) override {
    const bool model = index == 0;
    state.key = plugin::Shell::state_keys()[index];
    state.label = model ? "Model" : "Project";
    state.hints = model ? kStateIsFilenamePath : kStateIsOnlyForDSP;
  }

  float getParameterValue(std::uint32_t index) const override { return shell.parameter(static_cast<int>(index)); }
  void setParameterValue(std::uint32_t index, float value) override {
    shell.set_parameter(static_cast<int>(index), value);
  }
  String getState(const char* key) const override {
    return String(const_cast<plugin::Shell&>(shell).state(key).c_str());
  }
  void setState(const char* key, const char* value) override { shell.set_state(key, value); }

  void activate() override {
    shell.activate(getSampleRate(), static_cast<int>(getBufferSize()));
    tell_latency();
  }
  void deactivate() override { shell.deactivate(); }

  void run(const float** inputs, float** outputs, std::uint32_t frames, const MidiEvent* events,
           std::uint32_t event_count) override {
    std::uint32_t count = 0;
    for (std::uint32_t i = 0; i < event_count && count < kMostEvents; ++i) {
      const MidiEvent& event = events[i];
      if (event.size > 3 || event.size < 1) continue;  // system exclusive
      plugin::Midi& to = midi_[count++];
      to = {static_cast<int>(event.frame), {}};
      std::copy_n(event.data, event.size, to.bytes.begin());
    }
    shell.process(inputs, outputs, static_cast<int>(frames), {midi_.data(), count});
    tell_latency();
  }

 private:
  void tell_latency() noexcept {
    const auto latency = static_cast<std::uint32_t>(shell.latency_samples());
    if (latency == latency_) return;
    latency_ = latency;
    setLatency(latency);
  }

  std::uint32_t latency_ = 0;
  std::array<plugin::Midi, kMostEvents> midi_;
};

Plugin* createPlugin() { return new RavelPlugin; }

END_NAMESPACE_DISTRHO

ravel::plugin::Shell& ravel::plugin::shell_of(void* plugin_instance) noexcept {
  return static_cast<DISTRHO_NAMESPACE::RavelPlugin*>(static_cast<DISTRHO_NAMESPACE::Plugin*>(plugin_instance))->shell;
}

std::uint32_t ravel_tail_samples(void* plugin_instance) noexcept {
  return static_cast<std::uint32_t>(ravel::plugin::shell_of(plugin_instance).tail_samples());
}

void ravel_set_offline(void* plugin_instance, bool on) { ravel::plugin::shell_of(plugin_instance).set_offline(on); }

RavelNumber::RavelNumber(std::uint32_t parameter, double value, bool with_unit) {
  std::string written = ravel::plugin::text(static_cast<int>(parameter), static_cast<float>(value));
  const std::string& unit = ravel::plugin::parameters()[parameter].unit;
  if (!with_unit && !unit.empty()) written.resize(written.size() - unit.size() - 1);
  std::snprintf(text, sizeof text, "%s", written.c_str());
}
