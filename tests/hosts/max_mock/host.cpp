// A host that is not Max: carries out the calls of the stand-in for its SDK, driven by lines on standard input.
//
// One line is one command, see `commands`; everything the object says comes back as lines:
//   out ID OUTLET WORD ATOMS   post ID TEXT   error ID TEXT   touch ID ATTRIBUTE   fault TEXT
// A fault is what would harm a real host: a list or a line from the audio thread or a thread of the object's own,
// memory or locks while audio is computed, a clock or queue element that outlives its object.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../../cpp/realtime/watch.h"
#include "z_dsp.h"

extern "C" void ext_main(void*);

// ---- the host's own shape of what the headers leave open

struct Attribute {
  t_object head;
  t_symbol* symbol;
  std::string name, type;
  method get, set;
  std::map<std::string, std::string> about;
};

struct t_class {
  std::string name;
  method make, destroy;
  std::size_t size;
  bool has_signals = false;
  std::map<std::string, std::pair<method, int>> methods;
  std::map<std::string, Attribute*> attributes;
};

struct t_clock {
  void* object;
  method function;
  double due_ms;  // < 0: not set
};
struct t_qelem {
  void* object;
  method function;
  std::atomic<bool> set;
};

namespace {

struct Outlet {
  std::string kind;
};
struct Deferred {
  void* object;
  method function;
  t_symbol* word;
  std::vector<t_atom> list;
};
// Where `perform` is to be found after a compilation of the DSP chain.
struct Chain {
  t_object head;
  std::vector<long> in_channels, out_channels;
  void* perform = nullptr;
  void* parameter = nullptr;
};
struct Instance {
  std::string id;
  t_class* of = nullptr;
  t_pxobject* object = nullptr;
  std::deque<std::unique_ptr<Outlet>> outlets;  // left to right
  bool in_chain = false;
  long vector_size = 0;
  std::unique_ptr<Chain> chain;
  std::thread spinner;
  std::atomic<bool> spinning{false};
};

enum class Thread { main, scheduler, audio };
thread_local Thread this_thread = Thread::main;
const std::thread::id main_thread = std::this_thread::get_id();
bool known_thread() { return this_thread != Thread::main || std::this_thread::get_id() == main_thread; }

std::mutex guard;  // of what other threads than the main one reach
std::map<std::string, std::unique_ptr<t_symbol>> symbols;
std::map<std::string, t_class*> classes;
std::map<std::string, std::unique_ptr<Instance>> instances;
std::set<t_clock*> clocks;
std::set<t_qelem*> elements;
std::deque<Deferred> deferred;
std::vector<std::string> folders, search_path;
std::string next_dialog;

void say(const std::string& line) {
  const std::lock_guard lock(guard);
  std::cout << line << '\n' << std::flush;
}
void fault(const std::string& what) { say("fault " + what); }

double now_ms() {
  using namespace std::chrono;
  return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

Instance* instance_of(const void* object) {
  for (auto& [id, one] : instances)
    if (one->object == object) return one.get();
  return nullptr;
}
std::string id_of(const void* object) {
  const Instance* one = instance_of(object);
  return one ? one->id : "?";
}

std::string text_of(const t_atom& atom) {
  char text[64];
  if (atom.type == A_SYM) return atom.word->s_name;
  if (atom.type == A_LONG)
    std::snprintf(text, sizeof text, "%lld", static_cast<long long>(atom.whole));
  else
    std::snprintf(text, sizeof text, "%.9g", atom.number);
  return text;
}

std::string formatted(const char* format, va_list arguments) {
  char text[4096];
  std::vsnprintf(text, sizeof text, format, arguments);
  std::replace(text, text + std::strlen(text), '\n', ' ');
  return text;
}

std::vector<t_atom> to_atoms(const std::vector<std::string>& words) {
  std::vector<t_atom> list;
  for (const std::string& word : words) {
    t_atom atom{};
    char* end = nullptr;
    const double number = std::strtod(word.c_str(), &end);
    if (*end || word.empty())
      atom_setsym(&atom, gensym(word.c_str()));
    else if (word.find_first_of(".en") == std::string::npos)
      atom_setlong(&atom, static_cast<t_atom_long>(number));
    else
      atom_setfloat(&atom, number);
    list.push_back(atom);
  }
  return list;
}

template <class Result, class... Arguments>
Result call(method function, Arguments... arguments) {
  return reinterpret_cast<Result (*)(Arguments...)>(reinterpret_cast<void*>(function))(arguments...);
}

t_max_err set_attribute(void* object, Attribute* attribute, std::vector<t_atom>& list) {
  return call<t_max_err>(attribute->set, object, static_cast<void*>(attribute), static_cast<long>(list.size()),
                         list.data());
}

}  // namespace

// ---- the calls

extern "C" {

t_symbol* gensym(const char* name) {
  const std::lock_guard lock(guard);
  auto& symbol = symbols[name];
  if (!symbol) {
    symbol = std::make_unique<t_symbol>();
    symbol->s_name = symbols.find(name)->first.c_str();
  }
  return symbol.get();
}

long atom_gettype(const t_atom* atom) { return atom->type; }
double atom_getfloat(const t_atom* atom) {
  return atom->type == A_LONG ? static_cast<double>(atom->whole) : atom->type == A_FLOAT ? atom->number : 0;
}
t_symbol* atom_getsym(const t_atom* atom) { return atom->type == A_SYM ? atom->word : gensym(""); }
t_max_err atom_setlong(t_atom* atom, t_atom_long value) {
  return atom->type = A_LONG, atom->whole = value, MAX_ERR_NONE;
}
t_max_err atom_setfloat(t_atom* atom, double value) { return atom->type = A_FLOAT, atom->number = value, MAX_ERR_NONE; }
t_max_err atom_setsym(t_atom* atom, t_symbol* value) { return atom->type = A_SYM, atom->word = value, MAX_ERR_NONE; }
t_max_err atom_alloc(long* count, t_atom** list, char* allocated) {
  *allocated = !(*count && *list);
  if (*allocated) *list = static_cast<t_atom*>(std::calloc(1, sizeof(t_atom)));
  *count = 1;
  return MAX_ERR_NONE;
}

void* outlet_new(void* object, const char* kind) {
  Instance* one = instance_of(object);
  one->outlets.push_front(std::make_unique<Outlet>(Outlet{kind ? kind : "list"}));
  return one->outlets.front().get();
}
void* outlet_anything(void* outlet, t_symbol* word, short count, t_atom* list) {
  if (this_thread == Thread::audio || !known_thread()) fault("a list from another thread");
  for (auto& [id, one] : instances) {
    for (std::size_t i = 0; i < one->outlets.size(); ++i) {
      if (one->outlets[i].get() != outlet) continue;
      std::string line = "out " + id + " " + std::to_string(i) + " " + word->s_name;
      for (short k = 0; k < count; ++k) line += " " + text_of(list[k]);
      say(line);
    }
  }
  return nullptr;
}

t_clock* clock_new(void* object, method function) { return *clocks.insert(new t_clock{object, function, -1}).first; }
void clock_fdelay(void* clock, double ms) {
  if (!known_thread()) fault("a clock set from another thread");
  static_cast<t_clock*>(clock)->due_ms = now_ms() + ms;
}
t_qelem* qelem_new(void* object, method function) {
  return *elements.insert(new t_qelem{object, function, false}).first;
}
void qelem_set(t_qelem* element) { element->set = true; }
void qelem_free(t_qelem* element) {
  elements.erase(element);
  delete element;
}
void* defer(void* object, method function, t_symbol* word, short count, t_atom* list) {
  if (this_thread == Thread::main) {
    call<void>(function, object, word, count, list);
  } else {
    const std::lock_guard lock(guard);
    deferred.push_back({object, function, word, std::vector<t_atom>(list, list + count)});
  }
  return nullptr;
}

short locatefile_extended(char* name, short* folder, t_fourcc* type, const t_fourcc*, short) {
  namespace fs = std::filesystem;
  std::vector<fs::path> tries;
  if (fs::path(name).is_absolute()) tries.emplace_back(name);
  for (const std::string& one : search_path) tries.push_back(fs::path(one) / name);
  for (const fs::path& path : tries) {
    if (!fs::is_regular_file(path)) continue;
    folders.push_back(path.parent_path().string());
    *folder = static_cast<short>(folders.size() - 1);
    *type = 0;
    std::strcpy(name, path.filename().c_str());
    return 0;
  }
  return 1;
}
t_max_err path_toabsolutesystempath(short folder, const char* name, char* path) {
  std::snprintf(path, MAX_PATH_CHARS, "%s/%s", folders.at(static_cast<std::size_t>(folder)).c_str(), name);
  return MAX_ERR_NONE;
}
short open_dialog(char* name, short* folder, t_fourcc* type, t_fourcc*, short) {
  if (next_dialog.empty()) return 1;
  std::strcpy(name, next_dialog.c_str());
  next_dialog.clear();
  return locatefile_extended(name, folder, type, nullptr, 0);
}

void object_post(t_object* object, const char* format, ...) {
  if (this_thread == Thread::audio || !known_thread()) fault("a line from another thread");
  va_list arguments;
  va_start(arguments, format);
  say("post " + id_of(object) + " " + formatted(format, arguments));
  va_end(arguments);
}
void object_error(t_object* object, const char* format, ...) {
  if (this_thread == Thread::audio || !known_thread()) fault("a line from another thread");
  va_list arguments;
  va_start(arguments, format);
  say("error " + id_of(object) + " " + formatted(format, arguments));
  va_end(arguments);
}

t_class* class_new(const char* name, method make, method destroy, long size, method, short, ...) {
  return new t_class{name, make, destroy, static_cast<std::size_t>(size), false, {}, {}};
}
t_max_err class_addmethod(t_class* in, method function, const char* name, ...) {
  va_list kinds;
  va_start(kinds, name);
  in->methods[name] = {function, va_arg(kinds, int)};
  va_end(kinds);
  return MAX_ERR_NONE;
}
t_max_err class_addattr(t_class* in, t_object* attribute) {
  auto* one = reinterpret_cast<Attribute*>(attribute);
  in->attributes[one->name] = one;
  return MAX_ERR_NONE;
}
t_max_err class_attr_addattr_parse(t_class* in, const char* name, const char* what, t_symbol*, long, const char* text) {
  in->attributes.at(name)->about[what] = text;
  return MAX_ERR_NONE;
}
t_max_err class_attr_addattr_format(t_class* in, const char* name, const char* what, t_symbol*, long,
                                    const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  if (std::strcmp(format, "s") != 0) fault("an attribute's format that this host does not know");
  in->attributes.at(name)->about[what] = va_arg(arguments, t_symbol*)->s_name;
  va_end(arguments);
  return MAX_ERR_NONE;
}
t_max_err class_register(t_symbol*, t_class* in) {
  classes[in->name] = in;
  return MAX_ERR_NONE;
}
void class_dspinit(t_class* in) { in->has_signals = true; }

t_object* attribute_new(const char* name, t_symbol* type, long, method get, method set) {
  return &(new Attribute{{nullptr}, gensym(name), name, type->s_name, get, set, {}})->head;
}
long attr_args_offset(short count, t_atom* list) {
  for (short i = 0; i < count; ++i)
    if (list[i].type == A_SYM && list[i].word->s_name[0] == '@') return i;
  return count;
}
void attr_args_process(void* object, short count, t_atom* list) {
  Instance* one = instance_of(object);
  for (long i = attr_args_offset(count, list); i < count;) {
    const char* name = list[i].word->s_name + 1;
    const long next = i + 1 + attr_args_offset(static_cast<short>(count - i - 1), list + i + 1);
    const auto found = one->of->attributes.find(name);
    if (found == one->of->attributes.end()) say("error " + one->id + " no attribute " + name);
    std::vector<t_atom> values(list + i + 1, list + next);
    if (found != one->of->attributes.end()) set_attribute(object, found->second, values);
    i = next;
  }
}

void* object_alloc(t_class* of) {
  auto* object = static_cast<t_pxobject*>(std::calloc(1, of->size));
  object->head.of = of;
  for (auto& [id, one] : instances)  // the one that `new` is about
    if (!one->object) one->object = object, one->of = of;
  return object;
}
t_max_err object_free(void* object) {
  if (const auto clock = clocks.find(static_cast<t_clock*>(object)); clock != clocks.end()) {
    delete *clock;
    clocks.erase(clock);
    return MAX_ERR_NONE;
  }
  Instance* one = instance_of(object);
  call<void>(one->of->destroy, object);
  if (one->in_chain) fault(one->id + " was freed while in the chain");
  for (const t_clock* clock : clocks)
    if (clock->object == object) fault(one->id + " left a clock");
  for (const t_qelem* element : elements)
    if (element->object == object) fault(one->id + " left a queue element");
  instances.erase(one->id);
  std::free(object);
  return MAX_ERR_NONE;
}
void object_obex_store(void* object, t_symbol* key, t_object*) {
  if (std::strcmp(key->s_name, "dumpout") != 0) fault(id_of(object) + " stores what this host does not know");
}
t_max_err object_attr_touch(t_object* object, t_symbol* name) {
  if (this_thread != Thread::main || !known_thread()) fault("an attribute touched from another thread");
  const Instance* one = instance_of(object);
  if (one && !one->of->attributes.count(name->s_name)) fault(std::string("no attribute ") + name->s_name);
  return MAX_ERR_NONE;
}

void* object_method_imp(void* object, t_symbol* word, void* a, void* b, void* c, void* d) {
  const std::string what = word->s_name;
  if (what == "getname") return static_cast<Attribute*>(object)->symbol;
  auto* chain = static_cast<Chain*>(object);
  if (what == "getnuminputchannels")
    return reinterpret_cast<void*>(chain->in_channels.at(reinterpret_cast<std::size_t>(b)));
  if (what != "dsp_add64" || !instance_of(a)) fault("a message that this host does not know: " + what);
  if (c) fault("dsp_add64 with flags");
  chain->perform = b;
  chain->parameter = d;
  return nullptr;
}

void z_dsp_setup(t_pxobject* object, long inlets) {
  object->z_in = inlets;
  instance_of(object)->in_chain = true;
}
void z_dsp_free(t_pxobject* object) {
  Instance* one = instance_of(object);
  if (!one) return fault("dsp_free of what is no object");
  one->spinning = false;
  if (one->spinner.joinable()) one->spinner.join();
  one->in_chain = false;
}

}  // extern "C"

// ---- what the lines ask for

namespace {

using Words = std::vector<std::string>;

struct Bad : std::runtime_error {
  using std::runtime_error::runtime_error;
};

Instance& at(const Words& words) {
  const auto found = instances.find(words.at(1));
  if (found == instances.end()) throw Bad("no object " + words.at(1));
  return *found->second;
}

// classes: everything that ext_main registered.
void list_classes(const Words&) {
  for (const auto& [name, one] : classes) {
    say("class " + name + (one->has_signals ? " signals" : ""));
    for (const auto& [word, function] : one->methods)
      say("method " + name + " " + word + (function.second == A_CANT ? " hidden" : ""));
    for (const auto& [word, attribute] : one->attributes) {
      std::string line = "attribute " + name + " " + word + " " + attribute->type;
      for (const auto& [what, text] : attribute->about) line += " " + what + "=" + text;
      say(line);
    }
  }
}

// watched: whether what audio code calls is counted; not so under sanitizers.
void watched(const Words&) { say(ravel_watch_enter ? "watched yes" : "watched no"); }

// path FOLDER: more to search in.
void add_path(const Words& words) { search_path.push_back(words.at(1)); }

// new ID CLASS ARGUMENTS...
void make(const Words& words) {
  const std::string& id = words.at(1);
  t_class* of = classes.at(words.at(2));
  instances[id] = std::make_unique<Instance>();
  instances[id]->id = id;
  std::vector<t_atom> list = to_atoms({words.begin() + 3, words.end()});
  if (!call<void*>(of->make, gensym(of->name.c_str()), static_cast<long>(list.size()), list.data())) {
    instances.erase(id);
    return say("none " + id);
  }
  const Instance& one = *instances[id];
  std::string line = "made " + id + " " + std::to_string(one.object->z_in);
  if (one.object->z_misc & Z_MC_INLETS) line += " mc";
  for (const auto& outlet : one.outlets) line += " " + outlet->kind;
  say(line);
}

// start ID RATE VECTOR_SIZE [CHANNELS of every inlet]: compiles the chain.
void start(const Words& words) {
  Instance& one = at(words);
  auto chain = std::make_unique<Chain>();
  const std::size_t inlets = static_cast<std::size_t>(one.object->z_in);
  chain->in_channels.assign(inlets, 1);
  for (std::size_t i = 0; i < inlets && 4 + i < words.size(); ++i) chain->in_channels[i] = std::stol(words[4 + i]);
  const bool many = one.object->z_misc & Z_MC_INLETS;
  for (std::size_t i = 0; many && i < inlets; ++i)
    call<long>(one.of->methods.at("inputchanged").first, static_cast<void*>(one.object), static_cast<long>(i),
               chain->in_channels[i]);
  std::string line = "started " + one.id;
  for (std::size_t i = 0; i < one.outlets.size(); ++i) {
    if (one.outlets[i]->kind == "list") continue;
    chain->out_channels.push_back(one.outlets[i]->kind == "signal"
                                      ? 1
                                      : call<long>(one.of->methods.at("multichanneloutputs").first,
                                                   static_cast<void*>(one.object), static_cast<long>(i)));
    line += " " + std::to_string(chain->out_channels.back());
  }
  const bool again = one.spinning.exchange(false);
  if (one.spinner.joinable()) one.spinner.join();
  one.vector_size = std::stol(words.at(3));
  call<void>(one.of->methods.at("dsp64").first, static_cast<void*>(one.object), &chain->head,
             static_cast<short*>(nullptr), std::stod(words.at(2)), one.vector_size, 0L);
  if (!chain->perform) fault(one.id + " added no perform routine");
  one.chain = std::move(chain);
  say(line);
  if (again) say("note: stopped spinning");
}

// The signals of one vector, in memory of its own size, so that a sanitizer sees what reaches beyond.
class Vectors {
 public:
  Vectors(const Chain& chain, long frames) : frames_(frames) {
    for (const long channels : chain.in_channels) add(ins_, channels);
    for (const long channels : chain.out_channels) add(outs_, channels);
  }
  std::vector<double*> pointers(bool out) {
    std::vector<double*> list;
    for (auto& one : out ? outs_ : ins_) list.push_back(one.data());
    return list;
  }
  std::vector<std::vector<double>>& ins() { return ins_; }
  std::vector<std::vector<double>>& outs() { return outs_; }

 private:
  void add(std::vector<std::vector<double>>& to, long channels) {
    for (long i = 0; i < channels; ++i) to.emplace_back(static_cast<std::size_t>(frames_), 0.0);
  }
  long frames_;
  std::vector<std::vector<double>> ins_, outs_;
};

void perform(Instance& one, Vectors& vectors, long frames) {
  const auto ins = vectors.pointers(false), outs = vectors.pointers(true);
  for (auto& out : vectors.outs()) std::fill(out.begin(), out.end(), 1e9);  // what is not written shows
  const auto function = reinterpret_cast<method>(one.chain->perform);
  if (ravel_watch_enter) ravel_watch_enter();
  call<void>(function, static_cast<void*>(one.object), static_cast<t_object*>(nullptr),
             const_cast<double**>(ins.data()), static_cast<long>(ins.size()), const_cast<double**>(outs.data()),
             static_cast<long>(outs.size()), frames, 0L, one.chain->parameter);
  if (ravel_watch_leave && ravel_watch_leave()) fault(one.id + " perform calls " + ravel_watch_first());
}

template <class Work>
void on_thread(Thread which, Work work) {
  std::thread([&] {
    this_thread = which;
    work();
  }).join();
}

// play ID IN OUT [FRAMES...]: raw float64 files, channel after channel; calls of these frames in turn, else the vector
// size, until no whole call is left.
void play(const Words& words) {
  Instance& one = at(words);
  if (!one.chain) throw Bad("not started: " + one.id);
  std::vector<long> sizes;
  for (std::size_t i = 4; i < words.size(); ++i) sizes.push_back(std::stol(words[i]));
  if (sizes.empty()) sizes = {one.vector_size};
  std::ifstream file(words.at(2), std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::vector<double> in(bytes.size() / sizeof(double));
  std::memcpy(in.data(), bytes.data(), in.size() * sizeof(double));
  Vectors shape(*one.chain, 1);
  const std::size_t inputs = shape.ins().size(), outputs = shape.outs().size();
  const std::size_t length = in.size() / inputs;
  std::vector<std::vector<double>> out(outputs);
  on_thread(Thread::audio, [&] {
    for (std::size_t done = 0, i = 0;; ++i) {
      const auto frames = static_cast<std::size_t>(sizes[i % sizes.size()]);
      if (done + frames > length) break;
      Vectors vectors(*one.chain, static_cast<long>(frames));
      for (std::size_t k = 0; k < inputs; ++k)
        std::copy_n(in.begin() + static_cast<std::ptrdiff_t>(k * length + done), frames, vectors.ins()[k].begin());
      perform(one, vectors, static_cast<long>(frames));
      for (std::size_t k = 0; k < outputs; ++k)
        out[k].insert(out[k].end(), vectors.outs()[k].begin(), vectors.outs()[k].end());
      done += frames;
    }
  });
  std::ofstream result(words.at(3), std::ios::binary);
  for (const auto& channel : out)
    result.write(reinterpret_cast<const char*>(channel.data()),
                 static_cast<std::streamsize>(channel.size() * sizeof(double)));
  say("played " + one.id);
}

// spin ID, halt ID: an audio thread in the background, noise in, about as fast as real time.
void spin(const Words& words) {
  Instance& one = at(words);
  if (!one.chain) throw Bad("not started: " + one.id);
  one.spinning = true;
  one.spinner = std::thread([&one] {
    this_thread = Thread::audio;
    Vectors vectors(*one.chain, one.vector_size);
    unsigned noise = 1;
    while (one.spinning) {
      for (auto& in : vectors.ins())
        for (double& value : in)
          value = static_cast<double>((noise = noise * 1664525U + 1013904223U) >> 8) / (1 << 24) - 0.5;
      perform(one, vectors, one.vector_size);
      for (const auto& out : vectors.outs())
        if (!std::all_of(out.begin(), out.end(), [](double v) { return std::abs(v) < 100; })) fault("wild output");
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
  });
}
void halt(const Words& words) {
  Instance& one = at(words);
  one.spinning = false;
  if (one.spinner.joinable()) one.spinner.join();
}

// send ID WORD ATOMS...: from the main thread; schedule: from the scheduler's; audio: the same while nothing may be
// allocated. A word is a method, else an attribute.
void send(const Words& words) {
  Instance& one = at(words);
  std::vector<t_atom> list = to_atoms({words.begin() + 3, words.end()});
  const std::string& word = words.at(2);
  const auto known = one.of->methods.find(word);
  const auto attribute = one.of->attributes.find(word);
  t_symbol* symbol = gensym(word.c_str());
  const auto run = [&] {
    if (known != one.of->methods.end() && known->second.second != A_CANT)
      call<void>(known->second.first, static_cast<void*>(one.object), symbol, static_cast<long>(list.size()),
                 list.data());
    else if (attribute != one.of->attributes.end())
      set_attribute(one.object, attribute->second, list);
    else
      say("error " + one.id + " doesn't understand " + word);
  };
  if (words[0] == "send") return run();
  on_thread(Thread::scheduler, [&] {
    if (words[0] == "audio" && ravel_watch_enter) ravel_watch_enter();
    run();
    if (words[0] == "audio" && ravel_watch_leave && ravel_watch_leave())
      fault(one.id + " " + word + " calls " + ravel_watch_first());
  });
}

// attr ID NAME: its value.
void attribute(const Words& words) {
  const Instance& one = at(words);
  Attribute* wanted = one.of->attributes.at(words.at(2));
  long count = 0;
  t_atom* list = nullptr;
  const auto failed =
      call<t_max_err>(wanted->get, static_cast<void*>(one.object), static_cast<void*>(wanted), &count, &list);
  say("attr " + one.id + " " + wanted->name + " " + (failed || !count ? "none" : text_of(*list)));
  std::free(list);
}

// assist ID in|out NUMBER
void assist(const Words& words) {
  const Instance& one = at(words);
  char text[256] = "";
  call<void>(one.of->methods.at("assist").first, static_cast<void*>(one.object), static_cast<void*>(nullptr),
             static_cast<long>(words.at(2) == "in" ? ASSIST_INLET : ASSIST_OUTLET), std::stol(words.at(3)),
             static_cast<char*>(text));
  say("assist " + one.id + " " + words[2] + " " + words[3] + " " + text);
}

// One round of what Max does between other things: deferred messages, clocks, queue elements. False: nothing to do.
bool round() {
  bool busy = false;
  std::deque<Deferred> now;
  {
    const std::lock_guard lock(guard);
    now.swap(deferred);
  }
  for (Deferred& one : now) {
    busy = true;
    if (!instance_of(one.object)) continue;
    call<void>(one.function, one.object, one.word, static_cast<short>(one.list.size()), one.list.data());
  }
  for (t_clock* clock : std::vector<t_clock*>(clocks.begin(), clocks.end())) {
    if (!clocks.count(clock) || clock->due_ms < 0) continue;
    busy = true;
    if (now_ms() < clock->due_ms) continue;
    clock->due_ms = -1;
    on_thread(Thread::scheduler, [&] { call<void>(clock->function, clock->object); });
  }
  for (t_qelem* element : std::vector<t_qelem*>(elements.begin(), elements.end())) {
    if (!elements.count(element) || !element->set.exchange(false)) continue;
    busy = true;
    call<void>(element->function, element->object);
  }
  return busy;
}

// idle [SECONDS]: lets the host run for this long, else until it has nothing more to do, at most 20 s.
void idle(const Words& words) {
  const double start = now_ms();
  const double most = words.size() > 1 ? 1000 * std::stod(words[1]) : 20000;
  while ((round() || words.size() > 1) && now_ms() - start < most)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// dialog PATH: what is chosen in the next file dialog.
void dialog(const Words& words) { next_dialog = words.at(1); }

// free ID
void destroy(const Words& words) { object_free(at(words).object); }

const std::map<std::string, void (*)(const Words&)> commands = {
    {"classes", list_classes},
    {"watched", watched},
    {"path", add_path},
    {"new", make},
    {"start", start},
    {"play", play},
    {"spin", spin},
    {"halt", halt},
    {"send", send},
    {"schedule", send},
    {"audio", send},
    {"attr", attribute},
    {"assist", assist},
    {"idle", idle},
    {"dialog", dialog},
    {"free", destroy},
};

}  // namespace

int main() {
  ext_main(nullptr);
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream stream(line);
    const Words words{std::istream_iterator<std::string>(stream), {}};
    if (words.empty()) continue;
    say("> " + line);
    try {
      commands.at(words[0])(words);
    } catch (const std::exception& error) {
      say(std::string("bad command: ") + error.what());
      return 2;
    }
  }
  while (!instances.empty()) object_free(instances.begin()->second->object);
  for (auto& [name, one] : classes) {
    for (auto& [word, attribute] : one->attributes) delete attribute;
    delete one;
  }
  return 0;
}
