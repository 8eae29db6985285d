// What may wait: reads, prepares, restores and fades, one change at a time, on whichever thread asked for it or on its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "parameters.h"
#include "shell.h"
#include "stage.h"
#include "state.h"
#include "status.h"

namespace ravel::plugin {

struct Keeper {
  Keeper(Form form, std::span<const std::byte> built_in) : stage(form), form(form), built_in(built_in) {}
  ~Keeper();
  Player& player() noexcept { return stage.player(); }

  // ---- what is told

  void say(std::string message);
  // After a model came or went, or the host changed.
  void tell();

  // ---- under `control`

  void prepare(bool fade);
  // Where sound was playing it fades out before and in afterwards; a host that has stopped calling is not waited for.
  void settle();
  // The player cross-fades between models that are equally late; for others the host has to be told.
  bool fits(const Model& model);
  // The newest load is what plays from now on.
  void adopt(ModelFile file, std::vector<std::byte> embedded, bool built_in_plays);
  bool load(const std::string& path);
  // The content of the file that plays, which is not waited for before it sounds.
  void identify_model();
  bool load(std::shared_ptr<const Model> model, ModelFile file, std::vector<std::byte> embedded, bool built_in_plays);
  void load_built_in();
  // Nothing plays, the dry signal passes as late as the project was.
  void go_without(ModelFile file, int latency_samples);
  // What parameters ask of this half.
  void follow();
  // Before every block of a render.
  void follow_offline() noexcept;
  std::optional<std::string> take_next();
  void load_next();
  void start_thread();
  void keep();

  // ---- state

  void set_model(const std::string& path);
  void restore_snapshot(int slot, const std::vector<std::vector<float>>& streams);
  // Throws Error before anything has changed.
  void restore(Project wanted);
  // `embedded`: what the project has inside, or null.
  void restore_model(Project& wanted, std::shared_ptr<const Model> embedded);
  std::vector<float> values() const;
  // Streams of latents; none where nothing was stored.
  std::vector<std::vector<float>> snapshot(int slot);
  Project now();

  Stage stage;
  const Form form;
  const std::span<const std::byte> built_in;

  std::mutex control;  // held while something is read, prepared or faded
  double sample_rate_hz = 48000;
  int max_block = 512;
  bool active = false;
  std::atomic<bool> offline{false};
  bool in_process = false;  // the one who holds `control` is the audio thread
  bool plays = false, missing = false, plays_built_in = false;
  Mode mode = Mode::automatic;
  Stereo stereo = Stereo::left_right;
  int choice = 0;                         // kModel as last obeyed
  std::shared_ptr<const Model> prepared;  // for the model the stage was prepared
  std::string unknown;                    // path of the model that could not be identified
  Project project;                        // its model: written under `telling` too

  std::mutex telling;  // held shortly
  Status about;
  std::vector<std::string> folder;
  std::optional<std::string> next;  // to be opened
  bool stopping = false;
  std::condition_variable wake;
  std::thread thread;
};

}  // namespace ravel::plugin
