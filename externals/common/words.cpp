// The table of messages, and how arguments are read.
#include "words.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

namespace ravel::patcher {
namespace {

constexpr int kMaxSignals = 1024;  // of one multichannel cord in Max

// The controls of the player come on top, by their own names.
constexpr std::array kWords = {
    Word{"load", "MODEL", "loads another model; what plays goes on until it is there", false},
    Word{"reload", "", "loads the file again", false},
    Word{"method", "forward|encode|decode|prior", "what the model does; inlets and outlets stay as they are", false},
    Word{"mode", "automatic|inline|sliced|threaded [SLICES]", "how a hop is computed", false},
    Word{"enable", "0|1", "0: silence at no cost", true},
    Word{"bypass", "0|1", "1: the input, as late as the model's sound", true},
    Word{"freeze", "0|1", "1: holds the latents", true},
    Word{"noise", "0|1", "the filtered-noise part of the sound", true},
    Word{"morphing", "0|1", "1: the latents lie between snapshots A and B", true},
    Word{"morph", "POSITION|off", "from snapshot A, 0, to B, 1", true},
    Word{"snapshot", "store|recall a|b", "keeps the latents now playing, or plays kept ones, frozen", true},
    Word{"reset", "", "forgets the past", true},
    Word{"latent", "LATENT [VALUE]", "holds a latent at a value; without one: lets it go", true},
    Word{"override", "LATENT 0|1", "holds a latent at its last value, or lets it go", true},
    Word{"scale", "LATENT FACTOR", "multiplies a latent", true},
    Word{"bias", "LATENT VALUE", "adds to a latent", true},
    Word{"label", "LABEL [WEIGHT]", "which instrument plays, by name or number; with a weight: blends it in", false},
    Word{"gain", "[in|out] DECIBELS", "level before or behind the model", true},
    Word{"seed", "NUMBER", "which noise: equal seeds repeat", true},
    Word{"offline", "[0|1]", "1: not real time, workers and loads are waited for", true},
    Word{"latency", "", "answers: latency SAMPLES MILLISECONDS", true},
    Word{"meters", "", "answers: meters IN_PEAK OUT_PEAK LOAD WORST_LOAD LATE_HOPS", true},
    Word{"info", "", "answers: info KEY VALUE, a list each", false},
    Word{"get", "ATTRIBUTE [LATENT]", "answers: ATTRIBUTE VALUES", true},
    Word{"set", "ATTRIBUTE VALUES", "the same as the message ATTRIBUTE VALUES", true},
    Word{"dump", "", "answers with every attribute", true},
};

std::string joined(Atoms atoms) {
  std::string line;
  for (const Atom& atom : atoms) line += (line.empty() ? "" : " ") + text(atom);
  return line;
}

bool is_flag(const Atom& atom) {
  return atom.word && (atom.word[0] == '-' || atom.word[0] == '@') &&
         std::isalpha(static_cast<unsigned char>(atom.word[1]));
}

int signals(const std::vector<Atom>& flag) {
  const double count = flag.size() == 2 && !flag[1].word ? flag[1].number : 0;
  if (!(count >= 1 && count <= kMaxSignals))
    throw Error("-" + joined(flag) + ": expects a number of signals, 1 to " + std::to_string(kMaxSignals));
  return static_cast<int>(count);
}

void read_flag(std::vector<Atom> flag, Arguments& arguments) {
  ++flag[0].word;  // without its - or @
  if (same(flag[0].word, "in")) {
    arguments.inputs = signals(flag);
  } else if (same(flag[0].word, "out")) {
    arguments.outputs = signals(flag);
  } else if (same(flag[0].word, "mc")) {
    arguments.multichannel = true;
  } else if (word_from(flag[0].word)) {
    arguments.messages.push_back(std::move(flag));
  } else {
    throw Error(std::string("no flag '-") + flag[0].word +
                "': there are -in, -out, -mc and every message, -mode sliced");
  }
}

}  // namespace

bool same(const char* a, const char* b) noexcept { return !std::strcmp(a, b); }

std::optional<Control> control_from(const char* word) {
  for (std::size_t i = 0; i < kControls; ++i)
    if (same(word, ravel::info(static_cast<Control>(i)).name)) return static_cast<Control>(i);
  return std::nullopt;
}

std::optional<Switch> switch_from(const char* word) {
  for (std::size_t i = 0; i < kSwitches; ++i)
    if (same(word, name(static_cast<Switch>(i)))) return static_cast<Switch>(i);
  return std::nullopt;
}

std::optional<Method> method_from(const char* word) {
  for (const Method method : kEveryMethod)
    if (same(word, name(method))) return method;
  return std::nullopt;
}

const Word* word_from(const char* word) {
  const auto all = words();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Word& known) { return same(known.name, word); });
  return found == all.end() ? nullptr : &*found;
}

std::string text(const Atom& atom) {
  if (atom.word) return atom.word;
  char digits[32];
  std::snprintf(digits, sizeof digits, "%g", atom.number);
  return digits;
}

std::span<const Word> words() {
  static const auto all = [] {
    std::vector<Word> list(kWords.begin(), kWords.end());
    for (std::size_t i = 0; i < kControls; ++i) {
      const ControlInfo& about = ravel::info(static_cast<Control>(i));
      if (!std::any_of(kWords.begin(), kWords.end(), [&](const Word& word) { return same(word.name, about.name); }))
        list.push_back({about.name, "VALUE", about.unit, true});
    }
    return list;
  }();
  return all;
}

bool any_thread(const char* word, Atoms atoms) {
  if (same(word, "set") && !atoms.empty() && atoms[0].word && !same(atoms[0].word, "set"))
    return any_thread(atoms[0].word, atoms.subspan(1));
  const Word* known = word_from(word);
  return known && known->any_thread;
}

Arguments parse(Atoms atoms) {
  const auto first_flag = std::find_if(atoms.begin(), atoms.end(), is_flag);
  Arguments arguments;
  bool method_read = false, buffer_read = false;
  for (auto atom = atoms.begin(); atom != first_flag; ++atom) {
    if (atom == atoms.begin() && !(atom->word && method_from(atom->word))) {
      arguments.model = text(*atom);
    } else if (!atom->word && !buffer_read) {
      buffer_read = true;
    } else if (atom->word && !method_read) {
      const auto method = method_from(atom->word);
      if (!method) throw Error(std::string("no method '") + atom->word + "': there is forward, encode, decode, prior");
      arguments.method = *method;
      method_read = true;
    } else {
      throw Error("'" + text(*atom) + "' is one argument too many: ravel~ MODEL METHOD, then -FLAG VALUE");
    }
  }
  for (auto flag = first_flag; flag != atoms.end();) {
    const auto next = std::find_if(flag + 1, atoms.end(), is_flag);
    read_flag({flag, next}, arguments);
    flag = next;
  }
  return arguments;
}

std::string find_model(const std::string& name, const Find& find) {
  std::vector<std::string> tries = {name};
  if (name.ends_with(".ts"))
    tries.push_back(beside(name));
  else if (!name.ends_with(".ravel"))
    tries = {name + ".ravel", name + ".ts", name};
  for (const std::string& candidate : tries)
    if (const std::string path = find(candidate); !path.empty()) return path;
  throw Error("no file " + tries[0] + (tries.size() > 1 ? " or " + tries[1] : "") +
              ": put it next to the patch, or its folder into the search path");
}

std::string beside(const std::string& ts) { return ts.substr(0, ts.size() - 3) + ".ravel"; }

void Call::refuse() const {
  const Word* known = word_from(word);
  throw Error("'" + std::string(word) + (atoms.empty() ? "" : " ") + joined(atoms) + "': expects " + word +
              (*known->arguments ? " " : " alone") + known->arguments);
}

void Call::expect(std::size_t least, std::size_t most) const {
  if (atoms.size() < least || atoms.size() > most) refuse();
}

double Call::number(std::size_t index) const {
  if (index >= atoms.size() || atoms[index].word || !std::isfinite(atoms[index].number)) refuse();
  return atoms[index].number;
}

bool Call::flag() const {
  expect(1, 1);
  return number(0) != 0;
}

const char* Call::name(std::size_t index) const {
  if (index >= atoms.size() || !atoms[index].word) refuse();
  return atoms[index].word;
}

}  // namespace ravel::patcher
