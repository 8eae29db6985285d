// ravel~ for Pure Data: signals, messages and file search of Pd around the object that every host shares.
#include <m_pd.h>

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "patcher.h"

// Not in m_pd.h, but exported by every Pd: the cords at an outlet, null when there are none.
extern "C" {
struct _outconnect;
EXTERN struct _outconnect* obj_starttraverseoutlet(const t_object* object, t_outlet** outlet, int number);
}

#if defined(__linux__)
// A library preloaded into Pd may define these to count or time what `perform` does; else they are null.
extern "C" {
[[gnu::weak]] void ravel_watch_enter();
[[gnu::weak]] int ravel_watch_leave();
}
#endif

// RAVEL_OBJECT, RAVEL_SETUP: "ravel~" and ravel_tilde_setup, or those of an object with a model inside (CMakeLists.txt).
static_assert(sizeof(t_sample) == sizeof(float), "ravel~ is for Pd in single precision");

namespace {

using ravel::patcher::Arguments;
using ravel::patcher::Atom;
using ravel::patcher::Atoms;
using ravel::patcher::Remote;

constexpr double kPollMs = 5;

// ---- signals of several channels, which Pd has since 0.54; looked up, so that one binary plays in older ones too

constexpr int kMultichannelClass = 0x10;

// The head of a t_signal since Pd 0.54.
struct ManyChannels {
  int frames;
  t_sample* samples;  // one channel after the other
  t_float rate_hz;
  int channels;
};

using SetChannels = void (*)(t_signal** signal, int channels);

SetChannels find_set_channels() {
  constexpr const char* kName = "signal_setmultiout";
#if defined(_WIN32)
  const HMODULE pd = GetModuleHandleA("pd.dll");
  return pd ? reinterpret_cast<SetChannels>(reinterpret_cast<void*>(GetProcAddress(pd, kName))) : nullptr;
#else
  return reinterpret_cast<SetChannels>(dlsym(RTLD_DEFAULT, kName));
#endif
}

SetChannels set_channels = nullptr;  // null: this Pd has none

int channels_of(const t_signal* signal) {
  return set_channels ? reinterpret_cast<const ManyChannels*>(signal)->channels : 1;
}

// ---- the object

class Object;

t_class* object_class = nullptr;

struct Box {
  t_object object;
  t_float scalar;  // what a number sent to the first inlet sets
  Object* self;
};

Atoms to_atoms(int count, const t_atom* list, std::vector<Atom>& atoms) {
  for (int i = 0; i < count; ++i) {
    if (list[i].a_type == A_FLOAT)
      atoms.emplace_back(static_cast<double>(atom_getfloat(list + i)));
    else
      atoms.emplace_back(atom_gensym(list + i)->s_name);
  }
  return atoms;
}

class Object final : public ravel::patcher::Shell {
 public:
  Object(Box* box, const Arguments& arguments)
      : box_(box),
        canvas_(canvas_getcurrent()),
        multichannel_(arguments.multichannel),
        remote_(*this, ravel::built_in_bytes()) {
    if (multichannel_ && !set_channels) {
      complain("-mc needs Pd 0.54 or newer: this one gets an inlet and an outlet for every channel");
      multichannel_ = false;
    }
    clock_ = clock_new(this, reinterpret_cast<t_method>(tick));
    remote_.start(arguments);
    inlets_ = multichannel_ ? 1 : remote_.inputs();
    outlets_ = multichannel_ ? 1 : remote_.outputs();
    for (int i = 1; i < inlets_; ++i) signalinlet_new(&box_->object, 0);
    for (int i = 0; i < outlets_; ++i) outlet_new(&box_->object, &s_signal);
    lists_ = outlet_new(&box_->object, nullptr);
    poll_soon();
  }
  ~Object() override { clock_free(clock_); }

  void message(const char* word, Atoms atoms) noexcept {
    asked_ = true;
    if (!remote_.message(word, atoms)) {
      std::string known;
      for (const auto& one : ravel::patcher::words()) known += std::string(known.empty() ? "" : ", ") + one.name;
      const std::string line = std::string("no message '") + word + "': there are " + known;
      complain(line);
      answer("error", std::array<Atom, 1>{line});
    }
    asked_ = false;
    poll_soon();
  }

  // Pd calls it for every object at every edit of any patch; for the same host, `prepare` leaves the sound alone.
  void dsp(t_signal** signals) {
    in_.clear();
    out_.clear();
    for (int i = 0; i < inlets_; ++i) add(in_, signals[i], multichannel_ ? channels_of(signals[i]) : 1);
    const int streams = multichannel_ ? std::max(1, static_cast<int>(in_.size()) / remote_.inputs()) : 1;
    for (int i = 0; i < outlets_; ++i) {
      const int channels = multichannel_ ? remote_.outputs() * streams : 1;
      if (set_channels) set_channels(signals + inlets_ + i, channels);
      add(out_, signals[inlets_ + i], channels);
    }
    ravel::Host host;
    host.sample_rate_hz = signals[0]->s_sr;
    host.max_block = host.fixed_block = signals[0]->s_n;
    host.in_channels = static_cast<int>(in_.size());
    host.out_channels = static_cast<int>(out_.size());
    remote_.prepare(host);
    dsp_add(perform, 2, this, static_cast<t_int>(host.max_block));
    poll_soon();
  }

 private:
  static t_int* perform(t_int* words) {
    auto* self = reinterpret_cast<Object*>(words[1]);
#if defined(__linux__)
    if (ravel_watch_enter) ravel_watch_enter();
#endif
    self->remote_.process(self->in_, self->out_, static_cast<int>(words[2]));
#if defined(__linux__)
    if (ravel_watch_leave) ravel_watch_leave();
#endif
    return words + 3;
  }

  template <class Pointer>
  static void add(std::vector<Pointer>& channels, const t_signal* signal, int count) {
    for (int channel = 0; channel < count; ++channel)
      channels.push_back(signal->s_vec + static_cast<std::ptrdiff_t>(channel) * signal->s_n);
  }

  static void tick(Object* self) {
    self->polling_ = false;
    self->remote_.poll();
    self->poll_soon();
  }

  // Lists that are due leave from a clock: neither a loader's thread nor the sorting of the graph may send them.
  void poll_soon() {
    if (polling_ || !remote_.wants_poll()) return;
    polling_ = true;
    clock_delay(clock_, remote_.waits() ? kPollMs : 0);
  }

  void answer(const char* word, Atoms atoms) override {
    std::vector<t_atom> list(atoms.size());
    for (std::size_t i = 0; i < atoms.size(); ++i) {
      if (atoms[i].word)
        SETSYMBOL(&list[i], gensym(atoms[i].word));
      else
        SETFLOAT(&list[i], static_cast<t_float>(atoms[i].number));
    }
    if (asked_ && !connected())
      print_list(word, list);
    else if (lists_)
      outlet_anything(lists_, gensym(word), static_cast<int>(list.size()), list.data());
  }

  bool connected() const {
    t_outlet* outlet = nullptr;
    return obj_starttraverseoutlet(&box_->object, &outlet, outlets_) != nullptr;
  }

  void print_list(const char* word, const std::vector<t_atom>& list) {
    if (!std::strcmp(word, "error")) return;  // told already
    std::string line = word;
    for (const t_atom& atom : list) {
      char text[MAXPDSTRING];
      atom_string(&atom, text, sizeof text);
      line += std::string(" ") + text;
    }
    print(line);
  }

  void print(const std::string& line) override { post(RAVEL_OBJECT ": %s", line.c_str()); }
  void complain(const std::string& line) override { pd_error(box_, RAVEL_OBJECT ": %s", line.c_str()); }

  std::string find(const std::string& name) override {
    char folder[MAXPDSTRING];
    char* file = nullptr;
    const int opened = canvas_open(canvas_, name.c_str(), "", folder, &file, sizeof folder, 1);
    if (opened < 0) return {};
    sys_close(opened);
    return std::string(folder) + "/" + file;
  }

  Box* box_;
  t_canvas* canvas_;
  bool multichannel_;
  t_clock* clock_ = nullptr;
  t_outlet* lists_ = nullptr;  // the last one
  int inlets_ = 1, outlets_ = 1;
  bool polling_ = false;
  bool asked_ = false;  // a message is being answered: where no cord takes the answer, the console does
  std::vector<const float*> in_;
  std::vector<float*> out_;
  Remote remote_;
};

void* make(t_symbol*, int count, t_atom* list) noexcept {
  Box* box = nullptr;
  try {
    std::vector<Atom> atoms;
    to_atoms(count, list, atoms);
    const Arguments arguments = ravel::patcher::parse(atoms);
    box = reinterpret_cast<Box*>(pd_new(object_class));
    box->self = new Object(box, arguments);
    return box;
  } catch (const std::exception& error) {
    if (box) pd_free(reinterpret_cast<t_pd*>(box));
    pd_error(nullptr, RAVEL_OBJECT ": %s", error.what());
    return nullptr;
  }
}

void destroy(Box* box) noexcept { delete box->self; }

void message(Box* box, t_symbol* word, int count, t_atom* list) noexcept {
  std::vector<Atom> atoms;
  box->self->message(word->s_name, to_atoms(count, list, atoms));
}

void dsp(Box* box, t_signal** signals) noexcept { box->self->dsp(signals); }

}  // namespace

#if defined(_WIN32)
#define RAVEL_EXPORT extern "C" __declspec(dllexport)
#else
#define RAVEL_EXPORT extern "C" __attribute__((visibility("default")))
#endif

RAVEL_EXPORT void RAVEL_SETUP() {
  set_channels = find_set_channels();
  object_class = class_new(gensym(RAVEL_OBJECT), reinterpret_cast<t_newmethod>(reinterpret_cast<void*>(make)),
                           reinterpret_cast<t_method>(destroy), sizeof(Box),
                           CLASS_DEFAULT | (set_channels ? kMultichannelClass : 0), A_GIMME, A_NULL);
  CLASS_MAINSIGNALIN(object_class, Box, scalar);
  class_addmethod(object_class, reinterpret_cast<t_method>(dsp), gensym("dsp"), A_CANT, A_NULL);
  class_addanything(object_class, reinterpret_cast<t_method>(message));
}
