// ravel~, mc.ravel~ and mcs.ravel~ for Max: its signals, attributes and file search around the object that every host shares.
#include "ext.h"
#include "ext_obex.h"
#include "z_dsp.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "patcher.h"

namespace {

using ravel::patcher::Arguments;
using ravel::patcher::Atom;
using ravel::patcher::Atoms;
using ravel::patcher::Remote;

constexpr double kPollMs = 10;
constexpr std::size_t kAssistSize = 256;  // what Max gives an assist string
constexpr std::size_t kMaxAtoms = 32;     // of one message; the longest needs 4

// How signals lie in cords. plain: one each. voices: every cord carries the same signal of several streams, as in
// mc.nn~. bundle: one cord in, one out, stream after stream, as in mcs.nn~.
enum class Layout { plain, voices, bundle };

bool is_attribute(const char* word);

class Object;

struct Box {
  t_pxobject object;  // has to be first
  Object* self;
};

template <class Function>
method as_method(Function* function) {
  return reinterpret_cast<method>(reinterpret_cast<void*>(function));
}

t_object* as_object(Box* box) { return reinterpret_cast<t_object*>(box); }

Atom from_atom(const t_atom& atom) {
  if (atom_gettype(&atom) == A_SYM) return atom_getsym(&atom)->s_name;
  return static_cast<double>(atom_getfloat(&atom));
}

void to_atom(const Atom& from, t_atom* atom) {
  const auto whole = static_cast<t_atom_long>(from.number);
  if (from.word)
    atom_setsym(atom, gensym(from.word));
  else if (static_cast<double>(whole) == from.number)
    atom_setlong(atom, whole);
  else
    atom_setfloat(atom, from.number);
}

// The atoms of a message, without allocating: the scheduler may run in the audio thread.
class Few {
 public:
  Few(long count, const t_atom* list) : count_(std::min(static_cast<std::size_t>(count), kMaxAtoms)) {
    std::transform(list, list + count_, atoms_.begin(), from_atom);
  }
  operator Atoms() const { return Atoms(atoms_.data(), count_); }  // NOLINT(google-explicit-constructor)

 private:
  std::array<Atom, kMaxAtoms> atoms_;
  std::size_t count_;
};

const char* signal_of(ravel::Method method, bool inlet) {
  if (inlet ? ravel::takes_audio(method) : ravel::gives_audio(method)) return inlet ? "audio in" : "audio out";
  return inlet && method == ravel::Method::prior ? "added to prior_temperature" : "latent";
}

// Where each channel of the player lies among the signals of one compilation of the DSP chain.
struct Plan {
  ravel::Host host;
  std::vector<int> sources, targets;  // by the player's channel; -1: no signal
  std::vector<float> samples;
  std::vector<float*> channels;  // inputs, then outputs

  void allocate() {
    const auto frames = static_cast<std::size_t>(host.max_block);
    const std::size_t count = sources.size() + targets.size();
    samples.assign(count * frames, 0.0F);
    for (std::size_t i = 0; i < count; ++i) channels.push_back(samples.data() + i * frames);
  }
};

class Object final : public ravel::patcher::Shell {
 public:
  Object(Box* box, Layout layout, const Arguments& arguments)
      : box_(box), layout_(arguments.multichannel ? Layout::bundle : layout), remote_(*this) {
    clock_ = clock_new(box, as_method(tick));
    idle_ = qelem_new(box, as_method(idle));
    remote_.start(arguments);
    inlets_ = layout_ == Layout::bundle ? 1 : remote_.inputs();
    outlets_ = layout_ == Layout::bundle ? 1 : remote_.outputs();
    connected_.assign(static_cast<std::size_t>(inlets_), layout_ == Layout::bundle ? remote_.inputs() : 1);
    dsp_setup(&box->object, inlets_);
    box->object.z_misc |= Z_NO_INPLACE | (layout_ == Layout::plain ? 0 : Z_MC_INLETS);
    lists_ = outlet_new(box, nullptr);  // outlets are made from right to left
    object_obex_store(box, gensym("dumpout"), static_cast<t_object*>(lists_));
    for (int i = 0; i < outlets_; ++i) outlet_new(box, layout_ == Layout::plain ? "signal" : "multichannelsignal");
    poll_soon();
  }

  // After this no audio, no clock and no queue element reaches the object.
  ~Object() override {
    dsp_free(&box_->object);
    object_free(clock_);
    qelem_free(static_cast<t_qelem*>(idle_));
  }

  const Remote& remote() const noexcept { return remote_; }

  // ---- any thread

  void message_at_once(const char* word, Atoms atoms) {
    remote_.message(word, atoms);
    changed(word);
  }

  // ---- main thread

  void message_here(const char* word, Atoms atoms) {
    remote_.message(word, atoms);
    changed(word);
    poll_soon();
  }

  void dsp(t_object* chain, double rate_hz, long block) {
    for (int i = 0; layout_ != Layout::plain && i < inlets_; ++i)
      connected_[static_cast<std::size_t>(i)] = static_cast<int>(reinterpret_cast<t_ptr_int>(object_method(
          chain, gensym("getnuminputchannels"), box_, reinterpret_cast<void*>(static_cast<t_ptr_int>(i)))));
    auto plan = make_plan(rate_hz, static_cast<int>(block));
    playing_ = nullptr;
    remote_.prepare(plan->host);
    object_method(chain, gensym("dsp_add64"), box_, reinterpret_cast<void*>(perform), nullptr, plan.get());
    previous_ = std::move(plan_);  // may still run while Max changes chains
    plan_ = std::move(plan);
    playing_ = plan_.get();
    poll_soon();
  }

  // Max says how many channels come; it asks for those of the outlets when that may have changed them.
  bool input_changed(long inlet, long channels) {
    if (layout_ == Layout::plain || inlet < 0 || inlet >= inlets_) return false;
    const int before = out_channels();
    connected_[static_cast<std::size_t>(inlet)] = static_cast<int>(std::max(1L, channels));
    return out_channels() != before;
  }
  int out_channels() const {
    return layout_ == Layout::plain ? 1 : layout_ == Layout::voices ? streams() : remote_.outputs() * streams();
  }

  void assist(bool inlet, long index, char* text) const {
    const ravel::Method method = remote_.player().method();
    const int count = inlet ? remote_.inputs() : remote_.outputs();
    const char* kind = layout_ == Layout::plain ? "signal" : "multichannelsignal";
    if (!inlet && index >= outlets_) {
      std::snprintf(text, kAssistSize, "lists: info, latency, load, error, attributes");
      return;
    }
    const char* what = signal_of(method, inlet);
    int used = layout_ == Layout::bundle ? std::snprintf(text, kAssistSize, "(%s) %d x %s", kind, count, what)
               : count == 1              ? std::snprintf(text, kAssistSize, "(%s) %s", kind, what)
                                         : std::snprintf(text, kAssistSize, "(%s) %s %ld", kind, what, index);
    if (inlet && index == 0) std::snprintf(text + used, kAssistSize - static_cast<std::size_t>(used), ", messages");
  }

  void open_file_dialog() {
    char name[MAX_PATH_CHARS] = "";
    char path[MAX_PATH_CHARS] = "";
    short folder = 0;
    t_fourcc type = 0;
    if (open_dialog(name, &folder, &type, nullptr, 0) || path_toabsolutesystempath(folder, name, path)) return;
    message_here("load", std::array<Atom, 1>{path});
  }

  // ---- audio thread

  void play(const Plan* plan, double** ins, long in_count, double** outs, long out_count, long frames) noexcept {
    for (long i = 0; i < out_count; ++i) std::fill_n(outs[i], frames, 0.0);
    const ravel::Host& host = plan->host;
    if (plan != playing_) return;
    if (frames != host.max_block && !sizes_vary_.exchange(true)) qelem_set(static_cast<t_qelem*>(idle_));
    if (frames > host.max_block) return;
    for (std::size_t i = 0; i < plan->sources.size(); ++i) {
      const int source = plan->sources[i];
      float* channel = plan->channels[i];
      if (source < 0 || source >= in_count)
        std::fill_n(channel, frames, 0.0F);
      else
        std::transform(ins[source], ins[source] + frames, channel, [](double v) { return static_cast<float>(v); });
    }
    const std::span inputs(plan->channels.data(), plan->sources.size());
    const std::span outputs(plan->channels.data() + plan->sources.size(), plan->targets.size());
    remote_.process({inputs.data(), inputs.size()}, outputs, static_cast<int>(frames));
    for (std::size_t i = 0; i < outputs.size(); ++i)
      if (plan->targets[i] < out_count) std::copy_n(outputs[i], frames, outs[plan->targets[i]]);
  }

 private:
  int streams() const {
    if (layout_ == Layout::bundle) return std::max(1, connected_[0] / remote_.inputs());
    return *std::max_element(connected_.begin(), connected_.end());
  }

  std::unique_ptr<Plan> make_plan(double rate_hz, int block) const {
    auto plan = std::make_unique<Plan>();
    const int count = streams(), inputs = remote_.inputs(), outputs = remote_.outputs();
    for (int stream = 0; stream < count; ++stream)
      for (int signal = 0; signal < inputs; ++signal) plan->sources.push_back(source(stream, signal));
    for (int stream = 0; stream < count; ++stream)
      for (int signal = 0; signal < outputs; ++signal)
        plan->targets.push_back(layout_ == Layout::bundle ? stream * outputs + signal : signal * count + stream);
    plan->host.sample_rate_hz = rate_hz;
    plan->host.max_block = block;
    plan->host.fixed_block = sizes_vary_ ? 0 : block;
    plan->host.in_channels = count * inputs;
    plan->host.out_channels = count * outputs;
    plan->allocate();
    return plan;
  }

  // The signals of all inlets come in one row. A single channel is for all voices alike.
  int source(int stream, int signal) const {
    if (layout_ == Layout::bundle) return stream * remote_.inputs() + signal;
    int first = 0;
    for (int i = 0; i < signal; ++i) first += connected_[static_cast<std::size_t>(i)];
    const int channels = connected_[static_cast<std::size_t>(signal)];
    return channels == 1 ? first : stream < channels ? first + stream : -1;
  }

  static void perform(Box* box, t_object*, double** ins, long in_count, double** outs, long out_count, long frames,
                      long, void* plan) {
    box->self->play(static_cast<const Plan*>(plan), ins, in_count, outs, out_count, frames);
  }

  // The scheduler's thread hands over to the main thread: neither it nor a loader's thread may wait or send lists.
  static void tick(Box* box) { qelem_set(static_cast<t_qelem*>(box->self->idle_)); }
  static void idle(Box* box) {
    Object& self = *box->self;
    if (self.sizes_vary_ && self.plan_) self.prepare_for_any_size();
    if (self.changed_.exchange(false)) self.touch_attributes();
    self.remote_.poll();
    self.poll_soon();
  }

  // A host that promised one vector size and brings another: from now on none is counted on.
  void prepare_for_any_size() {
    ravel::Host host = plan_->host;
    host.fixed_block = 0;
    remote_.prepare(host);
  }

  void poll_soon() {
    if (remote_.wants_poll()) clock_fdelay(clock_, kPollMs);
  }

  // Max tells inspectors of attributes that it set itself; those that a message such as `morph` or `set` moved are
  // told of when Max has time.
  void changed(const char* word) {
    if (!is_attribute(word) && !changed_.exchange(true)) qelem_set(static_cast<t_qelem*>(idle_));
  }
  void touch_attributes();

  void answer(const char* word, Atoms atoms) override {
    std::vector<t_atom> list(atoms.size());
    for (std::size_t i = 0; i < atoms.size(); ++i) to_atom(atoms[i], &list[i]);
    if (lists_) outlet_anything(lists_, gensym(word), static_cast<short>(list.size()), list.data());
  }
  void print(const std::string& line) override { object_post(as_object(box_), "%s", line.c_str()); }
  void complain(const std::string& line) override { object_error(as_object(box_), "%s", line.c_str()); }

  std::string find(const std::string& name) override {
    char file[MAX_PATH_CHARS];
    char path[MAX_PATH_CHARS];
    short folder = 0;
    t_fourcc type = 0;
    if (name.size() >= sizeof file) return {};
    std::memcpy(file, name.c_str(), name.size() + 1);
    if (locatefile_extended(file, &folder, &type, nullptr, 0) || path_toabsolutesystempath(folder, file, path))
      return {};
    return path;
  }

  Box* box_;
  Layout layout_;
  void* clock_ = nullptr;
  void* idle_ = nullptr;
  void* lists_ = nullptr;  // the last outlet
  int inlets_ = 1, outlets_ = 1;
  std::vector<int> connected_;  // channels, by inlet
  std::unique_ptr<Plan> plan_, previous_;
  std::atomic<const Plan*> playing_{nullptr};
  std::atomic<bool> sizes_vary_{false}, changed_{false};
  Remote remote_;
};

// ---- attributes: the controls and switches of the player, and a few words that stay set

struct Attribute {
  std::string name;
  const char* type;   // float64, long, symbol
  std::string label;  // in the inspector
  const char* style;  // onoff, enum, or empty
  const char* choices;
};

std::string label_of(const ravel::ControlInfo& about) {
  std::string label = about.name;
  const std::string unit = about.unit;
  bool start = true;
  for (char& letter : label) {
    if (letter == '_') letter = ' ';
    if (start) letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
    start = letter == ' ';
  }
  return unit.empty() ? label : label + " (" + unit + ")";
}

const std::vector<Attribute>& attributes() {
  static const auto all = [] {
    std::vector<Attribute> list = {
        {"mode", "symbol", "Mode", "enum", "automatic inline sliced threaded"},
        {"method", "symbol", "Method", "enum", "forward encode decode prior"},
        {"enable", "long", "Enable", "onoff", ""},
        {"bypass", "long", "Bypass", "onoff", ""},
        {"freeze", "long", "Freeze Latents", "onoff", ""},
        {"noise", "long", "Filtered Noise", "onoff", ""},
        {"morphing", "long", "Morph Between Snapshots", "onoff", ""},
        {"offline", "long", "Offline", "onoff", ""},
        {"seed", "long", "Noise Seed", "", ""},
    };
    for (int i = 0; i < static_cast<int>(ravel::Control::count_); ++i) {
      const ravel::ControlInfo& about = ravel::info(static_cast<ravel::Control>(i));
      list.push_back({about.name, "float64", label_of(about), "", ""});
    }
    return list;
  }();
  return all;
}

bool is_attribute(const char* word) {
  const auto& all = attributes();
  return std::any_of(all.begin(), all.end(), [&](const Attribute& one) { return one.name == word; });
}

void Object::touch_attributes() {
  for (const Attribute& one : attributes()) object_attr_touch(as_object(box_), gensym(one.name.c_str()));
}

// ---- what Max calls

void message_deferred(Box* box, t_symbol* word, short count, t_atom* list) noexcept {
  if (count == 0 && !std::strcmp(word->s_name, "load")) return box->self->open_file_dialog();
  box->self->message_here(word->s_name, Few(count, list));
}

void message(Box* box, t_symbol* word, long count, t_atom* list) noexcept {
  const Few atoms(count, list);
  if (ravel::patcher::any_thread(word->s_name, atoms))
    box->self->message_at_once(word->s_name, atoms);
  else
    defer(box, as_method(message_deferred), word, static_cast<short>(count), list);
}

t_symbol* getname = nullptr;  // looked up once: Max locks its symbols
t_symbol* name_of(void* attribute) { return static_cast<t_symbol*>(object_method(attribute, getname)); }

t_max_err set_attribute(Box* box, void* attribute, long count, t_atom* list) noexcept {
  if (count && list) message(box, name_of(attribute), count, list);
  return MAX_ERR_NONE;
}

t_max_err get_attribute(Box* box, void* attribute, long* count, t_atom** list) noexcept {
  char allocated = 0;
  if (atom_alloc(count, list, &allocated)) return MAX_ERR_GENERIC;
  const auto value = box->self->remote().value(name_of(attribute)->s_name);
  if (value) to_atom(*value, *list);
  return value ? MAX_ERR_NONE : MAX_ERR_GENERIC;
}

void dsp64(Box* box, t_object* chain, short*, double rate_hz, long block, long) noexcept {
  box->self->dsp(chain, rate_hz, block);
}

long input_changed(Box* box, long inlet, long channels) noexcept { return box->self->input_changed(inlet, channels); }
long out_channels(Box* box, long) noexcept { return box->self->out_channels(); }

void assist(Box* box, void*, long side, long index, char* text) noexcept {
  box->self->assist(side == ASSIST_INLET, index, text);
}

std::array<t_class*, 3> classes{};  // by Layout

template <Layout layout>
void* make(t_symbol*, long count, t_atom* list) noexcept {
  auto* box = static_cast<Box*>(object_alloc(classes[static_cast<std::size_t>(layout)]));
  if (!box) return nullptr;
  try {
    // What comes before the first @ is the same in every host; @ sets attributes.
    const long own = attr_args_offset(static_cast<short>(count), list);
    std::vector<Atom> atoms(static_cast<std::size_t>(own));
    std::transform(list, list + own, atoms.begin(), from_atom);
    box->self = new Object(box, layout, ravel::patcher::parse(atoms));
    attr_args_process(box, static_cast<short>(count), list);
    return box;
  } catch (const std::exception& error) {
    object_error(as_object(box), "%s", error.what());
    object_free(box);
    return nullptr;
  }
}

void destroy(Box* box) noexcept { delete box->self; }

void add_attribute(t_class* max_class, const Attribute& one) {
  const char* name = one.name.c_str();
  class_addattr(max_class,
                attribute_new(name, gensym(one.type), 0, as_method(get_attribute), as_method(set_attribute)));
  class_attr_addattr_format(max_class, name, "label", gensym("symbol"), 0, "s", gensym(one.label.c_str()));
  if (*one.style) class_attr_addattr_parse(max_class, name, "style", gensym("symbol"), 0, one.style);
  if (*one.choices) class_attr_addattr_parse(max_class, name, "enumvals", gensym("atom"), 0, one.choices);
}

template <Layout layout>
void add_class(const char* name) {
  t_class* max_class =
      class_new(name, as_method(make<layout>), as_method(destroy), static_cast<long>(sizeof(Box)), nullptr, A_GIMME, 0);
  class_addmethod(max_class, as_method(dsp64), "dsp64", A_CANT, 0);
  class_addmethod(max_class, as_method(assist), "assist", A_CANT, 0);
  class_addmethod(max_class, as_method(input_changed), "inputchanged", A_CANT, 0);
  class_addmethod(max_class, as_method(out_channels), "multichanneloutputs", A_CANT, 0);
  for (const auto& word : ravel::patcher::words())
    if (!is_attribute(word.name)) class_addmethod(max_class, as_method(message), word.name, A_GIMME, 0);
  for (const Attribute& one : attributes()) add_attribute(max_class, one);
  class_dspinit(max_class);
  class_register(CLASS_BOX, max_class);
  classes[static_cast<std::size_t>(layout)] = max_class;
}

}  // namespace

extern "C" C74_EXPORT void ext_main(void*) {
  getname = gensym("getname");
  add_class<Layout::plain>("ravel~");
  add_class<Layout::voices>("mc.ravel~");
  add_class<Layout::bundle>("mcs.ravel~");
}
