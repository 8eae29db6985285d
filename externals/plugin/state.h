// What a project remembers beside parameters, as text and as files: which model, its snapshots, its controllers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ravel::plugin {

// A model that may be elsewhere tomorrow. Nothing set: none.
struct ModelFile {
  std::string path, name;   // name: of the file
  std::string hash;         // of its content, hexadecimal; empty: not known
  std::uint64_t bytes = 0;  // of the file

  bool none() const noexcept { return path.empty() && name.empty(); }
};

struct Project {
  ModelFile model;
  std::vector<std::byte> embedded;  // the file itself
  int latency_samples = 0;          // for the time that it is missing
  int choice = 0;                   // kModel as last obeyed
  bool temperature_moved = false;
  std::array<std::vector<std::vector<float>>, 2> snapshots;  // slot, stream, latent
  std::vector<std::array<int, 2>> controllers;               // controller, parameter
};

std::string to_text(const Project& project);
Project project_from_text(const std::string& text);  // throws Error

// A file of parameters, by symbol, with or without a project; what it lacks keeps `values`.
struct Preset {
  std::vector<float> values;
  bool has_project = false;
  Project project;
};
std::string to_text(const Preset& preset);
Preset preset_from_text(const std::string& text, std::vector<float> values);  // throws Error

std::vector<std::string> factory_presets();
std::vector<float> factory_preset(int which);  // every parameter

// 64 bits that tell files apart, eight bytes a step.
std::string content_hash(std::span<const std::byte> bytes);

// Throws Error, which starts with the path.
std::vector<std::byte> read_bytes(const std::string& path);
void write_whole(const std::string& path, const std::string& text);  // there is never half a file

ModelFile identify(const std::string& path);                    // throws Error
std::vector<std::string> models_in(const std::string& folder);  // `.ravel` files, by name
std::string folder_of(const std::string& path);
std::string file_name(const std::string& path);
bool is_file(const std::string& path);

// The file where it was; else one of the same content, else of the same name, in the folders given, those of the
// environment's RAVEL_MODELS and Documents/Ravel. Empty: nowhere.
std::string find(const ModelFile& model, const std::vector<std::string>& folders);

}  // namespace ravel::plugin
