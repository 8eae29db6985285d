// JSON from a project may come from anyone: whatever is not as it should be is an Error.
#include "state.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "parameters.h"
#include "ravel/error.h"

namespace ravel::plugin {

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

constexpr int kVersion = 1;
constexpr const char* kProjectFormat = "ravel project";
constexpr const char* kPresetFormat = "ravel preset";
constexpr std::size_t kMostLatents = 256, kMostStreams = 4;
constexpr int kMostLatency = 1 << 24;
constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fs::path native(const std::string& utf8) { return fs::path(std::u8string(utf8.begin(), utf8.end())); }
std::string text_of(const fs::path& path) {
  const std::u8string utf8 = path.u8string();
  return {utf8.begin(), utf8.end()};
}

std::string base64(std::span<const std::byte> bytes) {
  std::string text;
  text.reserve(bytes.size() / 3 * 4 + 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](std::size_t k) { return i + k < bytes.size() ? std::to_integer<unsigned>(bytes[i + k]) : 0U; };
    const unsigned group = at(0) << 16 | at(1) << 8 | at(2);
    for (std::size_t k = 0; k < 4; ++k) text += i + k > bytes.size() ? '=' : kDigits[group >> (18 - 6 * k) & 63];
  }
  return text;
}

std::vector<std::byte> from_base64(const std::string& text) {
  std::array<int, 256> value{};
  value.fill(-1);
  for (int i = 0; i < 64; ++i) value[static_cast<unsigned char>(kDigits[i])] = i;
  std::vector<std::byte> bytes;
  bytes.reserve(text.size() / 4 * 3);
  unsigned group = 0;
  int bits = 0;
  for (const char c : text) {
    if (c == '=') break;
    const int digit = value[static_cast<unsigned char>(c)];
    if (digit < 0) throw Error("project: the embedded model is no base64");
    group = (group << 6 | static_cast<unsigned>(digit)) & 0xFFFFFF;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push_back(static_cast<std::byte>(group >> bits & 255));
  }
  return bytes;
}

// Reads members of an object, each of the type that it has to have.
class Reader {
 public:
  Reader(const Json& object, const char* what) : object_(object), what_(what) {
    if (!object.is_object()) throw Error(std::string(what) + ": has to be an object");
  }
  const Json* find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }
  std::string text(const char* key) const {
    const Json* value = find(key);
    if (value && !value->is_string()) refuse(key, "text");
    return value ? value->get<std::string>() : std::string();
  }
  double number(const char* key, double least, double most, double otherwise) const {
    const Json* value = find(key);
    if (!value) return otherwise;
    if (!value->is_number()) refuse(key, "a number");
    const double is = value->get<double>();
    if (!(is >= least && is <= most)) refuse(key, "a number in its range");
    return is;
  }
  bool flag(const char* key) const {
    const Json* value = find(key);
    if (value && !value->is_boolean()) refuse(key, "true or false");
    return value && value->get<bool>();
  }
  [[noreturn]] void refuse(const char* key, const char* wanted) const {
    throw Error(std::string(what_) + ": " + key + " has to be " + wanted);
  }

 private:
  const Json& object_;
  const char* what_;
};

Json parsed(const std::string& text, const char* format, const char* what) {
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) throw Error(std::string(what) + ": is no JSON; nothing was changed");
  const Reader reader(json, what);
  if (reader.text("format") != format) throw Error(std::string(what) + ": format has to be \"" + format + "\"");
  const double version = reader.number("version", 0, 1e9, 0);
  if (version > kVersion)
    throw Error(std::string(what) + ": version " + std::to_string(static_cast<int>(version)) + ", this build reads " +
                std::to_string(kVersion) + ": a newer Ravel is needed");
  return json;
}

// A path that is no UTF-8 is written as well as it can be.
std::string dumped(const Json& json, int indent) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

int parameter_of(const std::string& symbol) {
  const auto list = parameters();
  const auto at = std::find_if(list.begin(), list.end(), [&](const Parameter& p) { return p.symbol == symbol; });
  return at == list.end() ? -1 : static_cast<int>(at - list.begin());
}

Json json_of(const Project& project) {
  Json json = {{"format", kProjectFormat},
               {"version", kVersion},
               {"latency_samples", project.latency_samples},
               {"choice", project.choice},
               {"temperature_moved", project.temperature_moved}};
  if (!project.model.none())
    json["model"] = {{"path", project.model.path},
                     {"name", project.model.name},
                     {"hash", project.model.hash},
                     {"bytes", project.model.bytes}};
  if (!project.embedded.empty()) json["embedded"] = base64(project.embedded);
  const bool stored = !project.snapshots[0].empty() || !project.snapshots[1].empty();
  if (stored) json["snapshots"] = project.snapshots;
  Json controllers = Json::object();
  for (const auto& [controller, parameter] : project.controllers)
    controllers[std::to_string(controller)] = parameters()[static_cast<std::size_t>(parameter)].symbol;
  json["controllers"] = controllers;
  return json;
}

std::vector<std::vector<float>> snapshot(const Json& json) {
  const auto bad = [] { return Error("project: a snapshot has to be lists of numbers, a list a stream"); };
  if (!json.is_array() || json.size() > kMostStreams) throw bad();
  std::vector<std::vector<float>> streams;
  for (const Json& row : json) {
    if (!row.is_array() || row.size() > kMostLatents) throw bad();
    auto& values = streams.emplace_back();
    for (const Json& value : row) {
      if (!value.is_number() || !(std::abs(value.get<double>()) <= 1e6)) throw bad();
      values.push_back(value.get<float>());
    }
  }
  return streams;
}

Project project_of(const Json& json) {
  const char* const what = "project";
  const Reader reader(json, what);
  Project project;
  if (const Json* model = reader.find("model")) {
    const Reader file(*model, "project: model");
    project.model = {file.text("path"), file.text("name"), file.text("hash"),
                     static_cast<std::uint64_t>(file.number("bytes", 0, 1e15, 0))};
    if (project.model.name.empty()) project.model.name = file_name(project.model.path);
  }
  project.embedded = from_base64(reader.text("embedded"));
  project.latency_samples = static_cast<int>(reader.number("latency_samples", 0, kMostLatency, 0));
  project.choice = static_cast<int>(reader.number("choice", 0, kBrowsed - 1, 0));
  project.temperature_moved = reader.flag("temperature_moved");
  if (const Json* snapshots = reader.find("snapshots")) {
    if (!snapshots->is_array() || snapshots->size() > 2) reader.refuse("snapshots", "a list of two");
    for (std::size_t i = 0; i < snapshots->size(); ++i) project.snapshots[i] = snapshot((*snapshots)[i]);
  }
  if (const Json* controllers = reader.find("controllers")) {
    if (!controllers->is_object()) reader.refuse("controllers", "an object");
    for (const auto& [key, symbol] : controllers->items()) {
      int controller = -1;
      const auto end = std::from_chars(key.data(), key.data() + key.size(), controller).ptr;
      if (end != key.data() + key.size() || controller < 0 || controller > 127 || !symbol.is_string())
        reader.refuse("controllers", "an object from 0 .. 127 to symbols of parameters");
      const int parameter = parameter_of(symbol.get<std::string>());
      if (parameter >= 0) project.controllers.push_back({controller, parameter});
    }
  }
  return project;
}

std::vector<float> initial_values() {
  std::vector<float> values;
  for (const Parameter& parameter : parameters()) values.push_back(parameter.initial);
  return values;
}

struct Factory {
  const char* name;
  std::vector<std::pair<int, float>> values;
};

const std::vector<Factory>& factory() {
  static const std::vector<Factory> list = {
      {"As it is", {}},
      {"Calm", {{kTemperature, 0}, {kLatentNoise, 0}}},
      {"Restless", {{kTemperature, 1.5F}, {kLatentNoise, 0.4F}, {kFill, 0.5F}}},
      {"Beside the original", {{kDryWet, 50}, {kWidth, 130}}},
      {"Exaggerated", {{id(0, kScale), 1.6F}, {id(1, kScale), 1.6F}, {id(2, kScale), 1.4F}, {id(3, kScale), 1.4F}}},
      {"Upside down", {{id(0, kScale), -1}, {id(1, kScale), -1}}},
      {"Bare outline",
       {{kNoise, 0},
        {kTemperature, 0},
        {id(4, kScale), 0},
        {id(5, kScale), 0},
        {id(6, kScale), 0},
        {id(7, kScale), 0}}},
      {"Wide middle and side", {{kStereo, static_cast<float>(Stereo::mid_side)}, {kWidth, 150}}},
      {"Dreaming along", {{kPrior, 50}}},
  };
  return list;
}

std::string extension(const fs::path& path) {
  std::string text = text_of(path.extension());
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

std::vector<std::string> known_folders() {
  std::vector<std::string> folders;
#ifdef _WIN32
  constexpr char kBetween = ';';
  const char* const home = std::getenv("USERPROFILE");
#else
  constexpr char kBetween = ':';
  const char* const home = std::getenv("HOME");
#endif
  if (const char* list = std::getenv("RAVEL_MODELS")) {
    const std::string all = list;
    for (std::size_t at = 0; at <= all.size();) {
      const std::size_t end = std::min(all.find(kBetween, at), all.size());
      if (end > at) folders.push_back(all.substr(at, end - at));
      at = end + 1;
    }
  }
  if (home) folders.push_back(text_of(native(home) / "Documents" / "Ravel"));
  return folders;
}

bool same_content(const std::string& path, const ModelFile& model) {
  std::error_code error;
  if (model.hash.empty() || (model.bytes != 0 && fs::file_size(native(path), error) != model.bytes)) return false;
  try {
    return content_hash(read_bytes(path)) == model.hash;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace

std::string to_text(const Project& project) { return dumped(json_of(project), -1); }

Project project_from_text(const std::string& text) { return project_of(parsed(text, kProjectFormat, "project")); }

std::string to_text(const Preset& preset) {
  Json values = Json::object();
  for (std::size_t i = 0; i < preset.values.size(); ++i) {
    if (i != kModel) values[parameters()[i].symbol] = preset.values[i];
  }
  Json json = {{"format", kPresetFormat}, {"version", kVersion}, {"parameters", values}};
  if (preset.has_project) json["project"] = json_of(preset.project);
  return dumped(json, 1) + "\n";
}

Preset preset_from_text(const std::string& text, std::vector<float> values) {
  const Json json = parsed(text, kPresetFormat, "preset");
  const Reader reader(json, "preset");
  Preset preset;
  preset.values = std::move(values);
  if (const Json* given = reader.find("parameters")) {
    if (!given->is_object()) reader.refuse("parameters", "an object");
    for (const auto& [symbol, value] : given->items()) {
      if (!value.is_number()) reader.refuse(symbol.c_str(), "a number");
      const int parameter = parameter_of(symbol);
      if (parameter >= 0 && parameter != kModel)
        preset.values[static_cast<std::size_t>(parameter)] = fitted(parameter, value.get<float>());
    }
  }
  if (const Json* project = reader.find("project")) {
    preset.has_project = true;
    preset.project = project_of(*project);
  }
  return preset;
}

std::vector<std::string> factory_presets() {
  std::vector<std::string> names;
  for (const Factory& preset : factory()) names.emplace_back(preset.name);
  return names;
}

std::vector<float> factory_preset(int which) {
  std::vector<float> values = initial_values();
  for (const auto& [parameter, value] : factory().at(static_cast<std::size_t>(which)).values)
    values[static_cast<std::size_t>(parameter)] = value;
  return values;
}

std::string content_hash(std::span<const std::byte> bytes) {
  std::uint64_t hash = bytes.size();
  for (std::size_t i = 0; i < bytes.size(); i += 8) {
    std::uint64_t word = 0;
    for (std::size_t k = 0; k < std::min<std::size_t>(8, bytes.size() - i); ++k)
      word |= std::to_integer<std::uint64_t>(bytes[i + k]) << (8 * k);
    hash = (hash ^ word) * 0x9E3779B97F4A7C15;
    hash ^= hash >> 32;
  }
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::vector<std::byte> read_bytes(const std::string& path) {
  std::ifstream file(native(path), std::ios::binary | std::ios::ate);
  if (!file || !is_file(path)) throw Error(path + ": no such file, or it may not be read");
  std::vector<std::byte> bytes(static_cast<std::size_t>(file.tellg()));
  file.seekg(0);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file) throw Error(path + ": could not be read to its end");
  return bytes;
}

void write_whole(const std::string& path, const std::string& text) {
  const fs::path to = native(path);
  fs::path beside = to;
  beside += ".part";
  std::ofstream file(beside, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  std::error_code error;
  if (file) fs::rename(beside, to, error);
  if (file && !error) return;
  const std::string why = error ? error.message() : "the folder is missing, full or write-protected";
  fs::remove(beside, error);
  throw Error(path + ": could not be written: " + why);
}

ModelFile identify(const std::string& path) {
  const std::vector<std::byte> bytes = read_bytes(path);
  return {path, file_name(path), content_hash(bytes), bytes.size()};
}

std::vector<std::string> models_in(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  fs::directory_iterator at(native(folder), error);
  for (; !error && at != fs::directory_iterator(); at.increment(error)) {
    if (extension(at->path()) == ".ravel") paths.push_back(text_of(at->path()));
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string folder_of(const std::string& path) { return text_of(native(path).parent_path()); }
std::string file_name(const std::string& path) { return text_of(native(path).filename()); }

bool is_file(const std::string& path) {
  std::error_code error;
  return !path.empty() && fs::is_regular_file(native(path), error);
}

std::string find(const ModelFile& model, const std::vector<std::string>& folders) {
  if (is_file(model.path)) return model.path;
  std::vector<std::string> all = folders;
  for (std::string& folder : known_folders()) all.push_back(std::move(folder));
  std::string namesake;
  for (const std::string& folder : all) {
    const std::string path = folder.empty() ? "" : text_of(native(folder) / native(model.name));
    if (!is_file(path)) continue;
    if (same_content(path, model)) return path;
    if (namesake.empty()) namesake = path;
  }
  for (const std::string& folder : all) {
    for (const std::string& path : folder.empty() ? std::vector<std::string>() : models_in(folder)) {
      if (same_content(path, model)) return path;
    }
  }
  return namesake;
}

}  // namespace ravel::plugin
