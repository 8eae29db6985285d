// What the Pure Data and Max objects share: what messages do to a player, and its answers, without any host.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "built_in.h"
#include "ravel/player.h"
#include "rest.h"
#include "words.h"

namespace ravel::patcher {

// What the host gives.
class Shell {
 public:
  virtual ~Shell() = default;
  virtual void answer(const char* word, Atoms atoms) = 0;  // out of the last outlet
  virtual void print(const std::string& line) = 0;         // to the console
  virtual void complain(const std::string& line) = 0;      // to the console, as an error of this object
  virtual std::string find(const std::string& name) = 0;   // full path by the host's search, or empty
};

class Remote {
 public:
  // `built_in`: bytes of the model that plays where no other is asked for, or none; they outlive the object.
  explicit Remote(Shell& shell, std::span<const std::byte> built_in = {}) noexcept;

  // ---- the host's main thread

  // Loads the model, waits for it, then sends the messages of the arguments. What fails is complained about, and the
  // object goes on without: a patch with a missing file opens, and `load` mends it. Answers nothing before `poll`.
  void start(const Arguments& arguments);
  void prepare(const Host& host);  // nothing for the host that it has; `process` gives silence meanwhile
  // Answers what is due (ends of loads, latency) and says whether to be called again, some 10 ms later.
  bool poll();
  // Else what `poll` has to do is due at once. A script may have something to say at any time.
  bool waits() const noexcept { return waiting_ || rest_.asked() || script_; }
  bool wants_poll() const noexcept {
    return waits() || load_due_ || !error_due_.empty() || (latency_due_ && prepared_);
  }

  // False: no such message. Wrong arguments are complained about.
  bool message(const char* word, Atoms atoms) noexcept;

  // ---- audio thread

  // Silence where the channels are not those of the newest `prepare`: an older chain may run once more.
  void process(std::span<const float* const> in, std::span<float* const> out, int frames) noexcept;

  // ---- any thread

  Player& player() noexcept { return player_; }
  const Player& player() const noexcept { return player_; }
  // Signals of one stream, as the model or the flags had them at creation.
  int inputs() const noexcept { return inputs_; }
  int outputs() const noexcept { return outputs_; }
  // Of an attribute with one value; mode: as asked for, which `info` may tell more of.
  std::optional<Atom> value(const char* attribute) const noexcept;

 private:
  void run(const Call& call);
  bool run_control(const Call& call);
  bool run_latent(const Call& call);
  bool run_answer(const Call& call);
  void set_control(Control control, double value);
  void set_mode(const Call& call);
  void set_method(const Call& call);
  void morph(const Call& call);
  void snapshot(const Call& call);
  void label(const Call& call);
  void get(const Call& call);
  void load(const std::string& name, bool wait);
  std::string find(const std::string& name);
  void complain(const std::string& line);
  void compare_signals();
  int latent_number(const Call& call, std::size_t index) const;
  bool answer_attribute(const char* name);
  bool set_script_attribute(const Call& call);
  bool answer_script_attribute(const std::string& name);
  void answer_latents(const std::string& name, int from, int to);
  void answer_labels();
  void answer_meters();
  void hear_player(const std::string& said);
  void dump();
  void info();
  void answer_latency();
  void change();  // prepares for the same host: after a fade where sound is playing
  void prepare_now(const Host& host);

  Shell& shell_;
  const std::span<const std::byte> built_in_;
  Player player_;
  Host host_;
  bool hosted_ = false;    // there is one
  bool prepared_ = false;  // and the player is ready for it
  bool starting_ = false;
  int inputs_ = 1, outputs_ = 1;
  std::string name_;                     // of the model, as last asked for
  std::shared_ptr<const Model> before_;  // the newest load
  bool waiting_ = false;                 // for its end
  bool script_ = false;                  // is what plays
  bool load_due_ = false, latency_due_ = false;
  std::string error_due_;
  std::atomic<long long> seed_;
  std::atomic<bool> offline_{false};
  std::atomic<Mode> mode_{Mode::automatic};

  Rest rest_;
  int patience_ = 0;  // polls until a silent audio thread is no longer waited for
  std::atomic<bool> enabled_{true};
};

}  // namespace ravel::patcher
