// The words of a patch: what a message or the arguments of an object are made of, and every message there is.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ravel/player.h"

namespace ravel::patcher {

// A word or a number of a patch. Hosts keep their symbols for good, so a word is only pointed at: messages that set a
// control allocate nothing and may come from a scheduler that runs in the audio thread.
struct Atom {
  Atom() = default;
  Atom(double value) : number(value) {}                  // NOLINT(google-explicit-constructor)
  Atom(const char* text) : word(text) {}                 // NOLINT(google-explicit-constructor)
  Atom(const std::string& text) : word(text.c_str()) {}  // NOLINT(google-explicit-constructor)
  const char* word = nullptr;                            // null: a number
  double number = 0;
};
using Atoms = std::span<const Atom>;

// Every message there is, with its arguments: for hosts that want to know before one comes.
struct Word {
  const char* name;
  const char* arguments;  // "LATENT FACTOR", empty: none
  const char* what;
  bool any_thread;  // else it may allocate, wait or read files: for the host's main thread
};
std::span<const Word> words();
bool any_thread(const char* word, Atoms atoms);  // of this message; `set` is like what it sets

const Word* word_from(const char* word);  // null: there is none

inline constexpr std::size_t kControls = static_cast<std::size_t>(Control::count_);
inline constexpr std::size_t kSwitches = static_cast<std::size_t>(Switch::count_);
std::optional<Control> control_from(const char* word);
std::optional<Switch> switch_from(const char* word);
std::optional<Method> method_from(const char* word);

bool same(const char* a, const char* b) noexcept;
std::string text(const Atom& atom);

// A message, its arguments checked as they are read: throws Error, which says what the message expects.
struct Call {
  const char* word;
  Atoms atoms;

  bool is(const char* other) const noexcept { return same(word, other); }
  [[noreturn]] void refuse() const;
  void expect(std::size_t least, std::size_t most) const;
  double number(std::size_t index) const;
  float value(std::size_t index) const { return static_cast<float>(number(index)); }
  bool flag() const;
  const char* name(std::size_t index) const;
};

// ravel~ [MODEL] [METHOD] [BUFFER] [-FLAG VALUES...]. nn~'s buffer size is accepted and not needed. -in N and -out N
// count the signals of an object that differs from its model's method, -mc bundles them; every message can be a flag
// too, `-mode sliced`, and reaches the new object.
struct Arguments {
  std::string model;
  Method method = Method::forward;
  int inputs = 0, outputs = 0;  // 0: the method's
  bool multichannel = false;
  std::vector<std::vector<Atom>> messages;
};
Arguments parse(Atoms atoms);  // throws Error

using Find = std::function<std::string(const std::string&)>;
// The file that a name means: NAME.ravel, NAME.ts, then NAME, whichever `find` finds first. A name that ends in .ts may
// have only its .ravel left. Throws Error with what was tried.
std::string find_model(const std::string& name, const Find& find);
std::string beside(const std::string& ts);  // the .ravel of the same export

}  // namespace ravel::patcher
