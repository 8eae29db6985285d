// A small CLAP host for tests: plays a plugin by a script, faster than time, and tells as JSON what it saw.
//
//   clap_host PLUGIN.clap SCRIPT [--in FILE] [--out FILE] [--times FILE] [--prove]
//
// FILEs hold float32: frames of as many channels as the plugin's port has; the time of every block in microseconds. Beyond
// its end the input is silence. --prove does in every block what must not be done, to see that it is seen.
// A line of the script is a command, done when those before it are:
//
//   activate RATE MAX_BLOCK       anew if need be, as after `request_restart`
//   deactivate
//   blocks SIZE | blocks MIN MAX  of the blocks to come: fixed, or random
//   seed N                        of what is random
//   [@FRAME] set PARAMETER VALUE  a number or a symbol; FRAME counts from the next `play` on
//   [@FRAME] note KEY VELOCITY    0 .. 1; 0 ends the note
//   [@FRAME] midi BYTE BYTE BYTE
//   play FRAMES
//   wait MILLISECONDS             for what happens in the background
//   save FILE, load FILE          the plugin's state
//   values                        of every parameter into the report
//   threads SECONDS               the state on the main thread, parameters on another, audio on a third, all at once
#include <clap/entry.h>
#include <clap/ext/audio-ports.h>
#include <clap/ext/latency.h>
#include <clap/ext/note-ports.h>
#include <clap/ext/params.h>
#include <clap/ext/state.h>
#include <clap/ext/thread-check.h>
#include <clap/plugin-factory.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <iostream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../cpp/realtime/watch.h"

namespace {

using Json = nlohmann::ordered_json;
using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// Time of this thread's processor: what other programs take away is not the plugin's fault.
double now_microseconds(clockid_t clock = CLOCK_THREAD_CPUTIME_ID) {
  timespec time{};
  clock_gettime(clock, &time);
  return 1e6 * static_cast<double>(time.tv_sec) + 1e-3 * static_cast<double>(time.tv_nsec);
}

template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::runtime_error(text.str());
}

// Not among DPF's headers.
struct Tail {
  std::uint32_t(CLAP_ABI* get)(const clap_plugin_t* plugin);
};

// What the plugin may ask of its host, counted.
struct Host {
  std::atomic<int> restarts{0}, callbacks{0}, latency_changes{0}, rescans{0};
  std::thread::id main = std::this_thread::get_id();
  std::atomic<std::thread::id> audio{};

  clap_host_t clap{CLAP_VERSION, this, "ravel tests", "Ravel", "", "1", extension, restart, nothing, callback};

  static Host& of(const clap_host_t* host) { return *static_cast<Host*>(host->host_data); }
  static void restart(const clap_host_t* host) { ++of(host).restarts; }
  static void callback(const clap_host_t* host) { ++of(host).callbacks; }
  static void nothing(const clap_host_t*) {}

  static const void* extension(const clap_host_t*, const char* name) {
    static const clap_host_latency_t latency{[](const clap_host_t* host) { ++of(host).latency_changes; }};
    static const clap_host_params_t params{[](const clap_host_t* host, clap_param_rescan_flags) { ++of(host).rescans; },
                                           [](const clap_host_t*, clap_id, clap_param_clear_flags) {}, nothing};
    static const clap_host_thread_check_t threads{
        [](const clap_host_t* host) { return std::this_thread::get_id() == of(host).main; },
        [](const clap_host_t* host) { return std::this_thread::get_id() == of(host).audio.load(); }};
    static const clap_host_state_t state{nothing};
    const std::string which = name;
    if (which == CLAP_EXT_LATENCY) return &latency;
    if (which == CLAP_EXT_PARAMS) return &params;
    if (which == CLAP_EXT_THREAD_CHECK) return &threads;
    if (which == CLAP_EXT_STATE) return &state;
    return nullptr;
  }
};

union Event {
  clap_event_header_t header;
  clap_event_param_value_t parameter;
  clap_event_note_t note;
  clap_event_midi_t midi;
};

template <class Kind>
Kind event_at(std::uint32_t frame, std::uint16_t type) {
  Kind event{};
  event.header = {sizeof(Kind), frame, CLAP_CORE_EVENT_SPACE_ID, type, 0};
  return event;
}
Event parameter_event(std::uint32_t frame, clap_id id, double value) {
  Event event{};
  event.parameter = event_at<clap_event_param_value_t>(frame, CLAP_EVENT_PARAM_VALUE);
  event.parameter.param_id = id;
  event.parameter.note_id = event.parameter.port_index = event.parameter.channel = event.parameter.key = -1;
  event.parameter.value = value;
  return event;
}
Event note_event(std::uint32_t frame, int key, double velocity) {
  Event event{};
  event.note = event_at<clap_event_note_t>(frame, velocity > 0 ? CLAP_EVENT_NOTE_ON : CLAP_EVENT_NOTE_OFF);
  event.note.note_id = -1;
  event.note.key = static_cast<std::int16_t>(key);
  event.note.velocity = velocity;
  return event;
}
Event midi_event(std::uint32_t frame, int status, int first, int second) {
  Event event{};
  event.midi = event_at<clap_event_midi_t>(frame, CLAP_EVENT_MIDI);
  event.midi.data[0] = static_cast<std::uint8_t>(status);
  event.midi.data[1] = static_cast<std::uint8_t>(first);
  event.midi.data[2] = static_cast<std::uint8_t>(second);
  return event;
}

// Those of one call, as the plugin sees them.
struct Events {
  std::vector<Event> list;
  clap_input_events_t in{&list,
                         [](const clap_input_events_t* self) {
                           return static_cast<std::uint32_t>(static_cast<std::vector<Event>*>(self->ctx)->size());
                         },
                         [](const clap_input_events_t* self, std::uint32_t i) -> const clap_event_header_t* {
                           return &(*static_cast<std::vector<Event>*>(self->ctx))[i].header;
                         }};
  clap_output_events_t out{nullptr, [](const clap_output_events_t*, const clap_event_header_t*) { return true; }};

  Events() { list.reserve(1 << 12); }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;
};

struct Channels {
  std::vector<std::vector<float>> sound;
  std::vector<float*> pointers;

  void resize(int channels, std::size_t frames) {
    sound.assign(static_cast<std::size_t>(channels), std::vector<float>(frames));
    pointers.clear();
    for (auto& one : sound) pointers.push_back(one.data());
  }
};

struct Options {
  std::string plugin, script, in, out, times;
  bool prove = false;
};

class Session {
 public:
  explicit Session(Options options) : options_(std::move(options)) {
    const auto start = Clock::now();
    library_ = dlopen(options_.plugin.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library_) fail(dlerror());
    report_["load_ms"] = milliseconds_since(start);
    entry_ = static_cast<const clap_plugin_entry_t*>(dlsym(library_, "clap_entry"));
    if (!entry_ || !entry_->init(options_.plugin.c_str())) fail(options_.plugin, " is no CLAP plugin");
    const auto* factory = static_cast<const clap_plugin_factory_t*>(entry_->get_factory(CLAP_PLUGIN_FACTORY_ID));
    const clap_plugin_descriptor_t* about = factory->get_plugin_descriptor(factory, 0);
    report_["id"] = about->id;
    report_["name"] = about->name;
    for (const char* const* feature = about->features; *feature; ++feature) report_["features"].push_back(*feature);
    report_["scan_ms"] = milliseconds_since(start);
    created_ = Clock::now();
    created_us_ = now_microseconds(CLOCK_PROCESS_CPUTIME_ID);
    plugin_ = factory->create_plugin(factory, &host_.clap, about->id);
    if (!plugin_ || !plugin_->init(plugin_)) fail("the plugin could not be created");
    report_["create_ms"] = milliseconds_since(created_);
    params_ = extension<clap_plugin_params_t>(CLAP_EXT_PARAMS);
    state_ = extension<clap_plugin_state_t>(CLAP_EXT_STATE);
    latency_ = extension<clap_plugin_latency_t>(CLAP_EXT_LATENCY);
    read_ports();
    read_parameters();
    if (!options_.in.empty()) read_input();
  }

  ~Session() {
    if (plugin_) {
      deactivate();
      plugin_->destroy(plugin_);
    }
    if (entry_) entry_->deinit();
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void run() {
    std::ifstream script(options_.script);
    if (!script) fail("there is no ", options_.script);
    for (std::string line; std::getline(script, line);) {
      std::istringstream words(line);
      std::string command;
      std::uint32_t frame = 0;
      if (!(words >> command) || command[0] == '#') continue;
      if (command[0] == '@') {
        frame = static_cast<std::uint32_t>(std::stoul(command.substr(1)));
        words >> command;
      }
      if (!one(command, frame, words)) fail("cannot do: ", line);
    }
    if (!options_.out.empty()) write(options_.out, output_);
    if (!options_.times.empty()) write(options_.times, times_);
  }

  Json report() {
    report_["latency"] = latency_ ? latency_->get(plugin_) : 0;
    if (const auto* tail = extension<Tail>("clap.tail")) report_["tail"] = tail->get(plugin_);
    report_["latency_changes"] = host_.latency_changes.load();
    report_["restarts"] = host_.restarts.load();
    report_["blocks"] = times_.size();
    report_["calls"] = calls_;
    report_["calls_a_block"] = most_calls_;
    report_["first_call"] = first_call_;
    report_["first_sound_ms"] = first_sound_ms_;
    report_["finite"] = finite_;
    report_["us"] = summary(times_);
    report_["share"] = summary(shares_);
    return report_;
  }

 private:
  template <class Extension>
  const Extension* extension(const char* name) const {
    return static_cast<const Extension*>(plugin_->get_extension(plugin_, name));
  }

  void read_ports() {
    const auto* ports = extension<clap_plugin_audio_ports_t>(CLAP_EXT_AUDIO_PORTS);
    for (const bool input : {true, false}) {
      Json list = Json::array();
      for (std::uint32_t i = 0; ports && i < ports->count(plugin_, input); ++i) {
        clap_audio_port_info_t info{};
        ports->get(plugin_, i, input, &info);
        list.push_back(info.channel_count);
        (input ? inputs_ : outputs_) += static_cast<int>(info.channel_count);
      }
      if (list.size() > 1) fail("a host of one port a side cannot play several");
      report_[input ? "inputs" : "outputs"] = list;
    }
    const auto* notes = extension<clap_plugin_note_ports_t>(CLAP_EXT_NOTE_PORTS);
    report_["note_inputs"] = notes ? notes->count(plugin_, true) : 0;
  }

  void read_parameters() {
    for (std::uint32_t i = 0; params_ && i < params_->count(plugin_); ++i) {
      clap_param_info_t info{};
      params_->get_info(plugin_, i, &info);
      const std::string module = info.module;
      const std::size_t slash = module.rfind('/');
      symbols_.push_back(slash == std::string::npos ? module : module.substr(slash + 1));
      ids_.push_back(info.id);
      ranges_.emplace_back(info.min_value, info.max_value);
      report_["parameters"].push_back({{"id", info.id},
                                       {"name", info.name},
                                       {"symbol", symbols_.back()},
                                       {"minimum", info.min_value},
                                       {"maximum", info.max_value},
                                       {"default", info.default_value},
                                       {"stepped", (info.flags & CLAP_PARAM_IS_STEPPED) != 0},
                                       {"automatable", (info.flags & CLAP_PARAM_IS_AUTOMATABLE) != 0},
                                       {"bypass", (info.flags & CLAP_PARAM_IS_BYPASS) != 0}});
    }
  }

  void read_input() {
    std::ifstream file(options_.in, std::ios::binary);
    if (!file) fail("there is no ", options_.in);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    input_.resize(bytes.size() / sizeof(float));
    std::memcpy(input_.data(), bytes.data(), input_.size() * sizeof(float));
  }

  static void write(const std::string& path, const std::vector<float>& values) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(values.data()),
               static_cast<std::streamsize>(values.size() * sizeof(float)));
    if (!file) fail("could not write ", path);
  }

  clap_id parameter(const std::string& word) const {
    const auto found = std::find(symbols_.begin(), symbols_.end(), word);
    if (found != symbols_.end()) return ids_[static_cast<std::size_t>(found - symbols_.begin())];
    if (!word.empty() && word.find_first_not_of("0123456789") == std::string::npos)
      return static_cast<clap_id>(std::stoul(word));
    fail("no parameter ", word);
  }

  bool one(const std::string& command, std::uint32_t frame, std::istringstream& words) {
    std::string word;
    double a = 0, b = 0, c = 0;
    if (command == "activate" && words >> a >> b) {
      activate(a, static_cast<int>(b));
    } else if (command == "deactivate") {
      deactivate();
    } else if (command == "blocks" && words >> a) {
      least_ = most_ = static_cast<int>(a);
      if (words >> b) most_ = static_cast<int>(b);
    } else if (command == "seed" && words >> a) {
      random_.seed(static_cast<unsigned>(a));
    } else if (command == "set" && words >> word >> a) {
      pending_.push_back(parameter_event(frame, parameter(word), a));
      if (!active_) flush();
    } else if (command == "note" && words >> a >> b) {
      pending_.push_back(note_event(frame, static_cast<int>(a), b));
    } else if (command == "midi" && words >> a >> b >> c) {
      pending_.push_back(midi_event(frame, static_cast<int>(a), static_cast<int>(b), static_cast<int>(c)));
    } else if (command == "play" && words >> a) {
      play(static_cast<std::size_t>(a));
    } else if (command == "wait" && words >> a) {
      std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(a));
      serve();
    } else if (command == "save" && words >> word) {
      const std::string bytes = save();
      std::ofstream(word, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    } else if (command == "load" && words >> word) {
      std::ifstream file(word, std::ios::binary);
      if (!file) fail("there is no ", word);
      report_["loads"].push_back(load({std::istreambuf_iterator<char>(file), {}}));
    } else if (command == "values") {
      Json values = Json::object();
      for (std::size_t i = 0; i < ids_.size(); ++i) {
        double value = 0;
        char text[256] = {};
        params_->get_value(plugin_, ids_[i], &value);
        params_->value_to_text(plugin_, ids_[i], value, text, sizeof(text));
        values[symbols_[i]] = {value, text};
      }
      report_["values"].push_back(values);
    } else if (command == "threads" && words >> a) {
      threads(a);
    } else {
      return false;
    }
    return true;
  }

  void activate(double rate, int max_block) {
    deactivate();
    rate_ = rate;
    max_block_ = max_block;
    if (least_ == 0) least_ = most_ = max_block;
    const auto start = Clock::now();
    if (!plugin_->activate(plugin_, rate, 1, static_cast<std::uint32_t>(max_block))) fail("could not be activated");
    report_["activations"].push_back(
        {{"rate", rate}, {"ms", milliseconds_since(start)}, {"latency", latency_ ? latency_->get(plugin_) : 0}});
    in_.resize(inputs_, static_cast<std::size_t>(max_block));
    out_.resize(outputs_, static_cast<std::size_t>(max_block));
    active_ = true;
    host_.audio = std::this_thread::get_id();
    plugin_->start_processing(plugin_);
  }

  void deactivate() {
    if (!active_) return;
    plugin_->stop_processing(plugin_);
    plugin_->deactivate(plugin_);
    active_ = false;
  }

  void serve() {
    if (host_.callbacks.exchange(0) > 0) plugin_->on_main_thread(plugin_);
  }

  void flush() {
    std::swap(events_.list, pending_);
    params_->flush(plugin_, &events_.in, &events_.out);
    events_.list.clear();
  }

  int next_block() { return most_ > least_ ? std::uniform_int_distribution<int>(least_, most_)(random_) : least_; }

  // Events lie in the block that holds their frame, at their place in it.
  void play(std::size_t frames) {
    if (!active_) fail("not active");
    output_.reserve(output_.size() + frames * static_cast<std::size_t>(outputs_));
    std::stable_sort(pending_.begin(), pending_.end(),
                     [](const Event& a, const Event& b) { return a.header.time < b.header.time; });
    auto next = pending_.begin();
    for (std::size_t done = 0; done < frames;) {
      const auto count =
          std::min<std::size_t>(static_cast<std::size_t>(std::min(next_block(), max_block_)), frames - done);
      events_.list.clear();
      for (; next != pending_.end() && next->header.time < done + count; ++next) {
        events_.list.push_back(*next);
        events_.list.back().header.time = static_cast<std::uint32_t>(next->header.time - done);
      }
      take(count);
      process(count);
      give(count);
      serve();
      done += count;
    }
    pending_.clear();
  }

  void take(std::size_t count) {
    const auto channels = static_cast<std::size_t>(inputs_);
    for (std::size_t c = 0; c < channels; ++c)
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = (at_ + i) * channels + c;
        in_.sound[c][i] = at < input_.size() ? input_[at] : 0.0f;
      }
    at_ += count;
  }

  void give(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
      for (const auto& channel : out_.sound) {
        output_.push_back(channel[i]);
        finite_ = finite_ && std::isfinite(channel[i]);
        if (first_sound_ms_ < 0 && channel[i] != 0.0f) {
          first_sound_ms_ = milliseconds_since(created_);
          report_["first_sound_cpu_ms"] = 1e-3 * (now_microseconds(CLOCK_PROCESS_CPUTIME_ID) - created_us_);
        }
      }
  }

  void process(std::size_t count) {
    const clap_audio_buffer_t in{in_.pointers.data(), nullptr, static_cast<std::uint32_t>(inputs_), 0, 0};
    clap_audio_buffer_t out{out_.pointers.data(), nullptr, static_cast<std::uint32_t>(outputs_), 0, 0};
    const clap_process_t call{steady_,
                              static_cast<std::uint32_t>(count),
                              nullptr,
                              &in,
                              &out,
                              inputs_ > 0 ? 1u : 0u,
                              outputs_ > 0 ? 1u : 0u,
                              &events_.in,
                              &events_.out};
    const double start = now_microseconds();
    if (ravel_watch_enter) ravel_watch_enter();
    if (options_.prove) {
      proof_ = std::malloc(8);
      std::free(proof_);
    }
    const clap_process_status status = plugin_->process(plugin_, &call);
    const int seen = ravel_watch_leave ? ravel_watch_leave() : 0;
    times_.push_back(static_cast<float>(now_microseconds() - start));
    shares_.push_back(static_cast<float>(1e-6 * times_.back() * rate_ / static_cast<double>(count)));
    if (seen && calls_ == 0) first_call_ = ravel_watch_first();
    calls_ += seen;
    most_calls_ = std::max(most_calls_, seen);
    steady_ += static_cast<std::int64_t>(count);
    if (status == CLAP_PROCESS_ERROR) fail("process failed");
  }

  std::string save() {
    std::string bytes;
    const clap_ostream_t stream{&bytes, [](const clap_ostream_t* self, const void* data, std::uint64_t size) {
                                  static_cast<std::string*>(self->ctx)->append(static_cast<const char*>(data), size);
                                  return static_cast<std::int64_t>(size);
                                }};
    if (!state_->save(plugin_, &stream)) fail("the state could not be saved");
    report_["saved_bytes"].push_back(bytes.size());
    return bytes;
  }

  bool load(const std::string& bytes) {
    struct Source {
      const std::string& bytes;
      std::size_t at = 0;
    } source{bytes};
    const clap_istream_t stream{&source, [](const clap_istream_t* self, void* data, std::uint64_t size) {
                                  auto& from = *static_cast<Source*>(self->ctx);
                                  const std::size_t count = std::min<std::size_t>(size, from.bytes.size() - from.at);
                                  std::memcpy(data, from.bytes.data() + from.at, count);
                                  from.at += count;
                                  return static_cast<std::int64_t>(count);
                                }};
    return state_->load(plugin_, &stream);
  }

  // What a host does at once: audio with events on its thread; states on the main one; a display on a third, which reads
  // parameters and hands new ones over.
  void threads(double seconds) {
    if (!active_) fail("not active");
    std::atomic<bool> ends{false};
    std::mutex lock;
    std::vector<Event> sent;
    std::thread display([&] {
      std::mt19937 random(1);
      while (!ends) {
        const std::size_t i = random() % ids_.size();
        const auto [low, high] = ranges_[i];
        double value = 0;
        char text[256];
        params_->get_value(plugin_, ids_[i], &value);
        params_->value_to_text(plugin_, ids_[i], value, text, sizeof(text));
        {
          const std::lock_guard guard(lock);
          sent.push_back(parameter_event(0, ids_[i], std::uniform_real_distribution<>(low, high)(random)));
        }
        std::this_thread::sleep_for(std::chrono::microseconds(300));
      }
    });
    const auto audio = [&](double until_s) {
      host_.audio = std::this_thread::get_id();
      for (const auto start = Clock::now(); milliseconds_since(start) < 1000 * until_s;) {
        events_.list.clear();
        {
          const std::lock_guard guard(lock);
          std::swap(events_.list, sent);
        }
        const int count = std::min(next_block(), max_block_);
        const auto frame = static_cast<std::uint32_t>(count - 1);
        events_.list.push_back(note_event(frame, 36 + static_cast<int>(random_() % 48), (random_() % 3) / 3.0));
        events_.list.push_back(midi_event(frame, 0xb0, 1, static_cast<int>(random_() % 128)));
        for (auto& channel : in_.sound)
          for (float& x : channel) x = std::uniform_real_distribution<float>(-0.5f, 0.5f)(random_);
        process(static_cast<std::size_t>(count));
        for (const auto& channel : out_.sound)
          finite_ = finite_ &&
                    std::all_of(channel.begin(), channel.begin() + count, [](float x) { return std::isfinite(x); });
        std::this_thread::yield();
      }
    };
    std::string bytes = save();
    int states = 0;
    for (int turn = 0; turn < 4; ++turn) {
      std::thread worker(audio, seconds / 4);
      for (const auto start = Clock::now(); milliseconds_since(start) < 1000 * seconds / 4 - 20; ++states) {
        if (states % 2) {
          load(bytes);
        } else {
          bytes = save();
        }
        if (latency_) latency_->get(plugin_);
        serve();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      worker.join();
      activate(rate_, max_block_);
    }
    ends = true;
    display.join();
    report_["states"] = states;
  }

  static Json summary(std::vector<float> values) {
    if (values.empty()) return nullptr;
    std::sort(values.begin(), values.end());
    double sum = 0;
    for (const float value : values) sum += value;
    const auto at = [&](double share) {
      return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
    };
    return {{"mean", sum / static_cast<double>(values.size())},
            {"p50", at(0.5)},
            {"p99", at(0.99)},
            {"p99.9", at(0.999)},
            {"max", values.back()}};
  }

  Options options_;
  Host host_;
  void* library_ = nullptr;  // never closed: what it registered for the end of the program may still run
  const clap_plugin_entry_t* entry_ = nullptr;
  const clap_plugin_t* plugin_ = nullptr;
  const clap_plugin_params_t* params_ = nullptr;
  const clap_plugin_state_t* state_ = nullptr;
  const clap_plugin_latency_t* latency_ = nullptr;
  Json report_;
  Clock::time_point created_;
  double created_us_ = 0;
  int inputs_ = 0, outputs_ = 0;
  std::vector<std::string> symbols_;
  std::vector<clap_id> ids_;
  std::vector<std::pair<double, double>> ranges_;

  std::vector<float> input_, output_, times_, shares_;
  std::size_t at_ = 0;
  Channels in_, out_;
  Events events_;
  std::vector<Event> pending_;
  std::mt19937 random_{0};
  bool active_ = false, finite_ = true;
  double rate_ = 0, first_sound_ms_ = -1;
  int max_block_ = 0, least_ = 0, most_ = 0;
  std::int64_t steady_ = 0;
  int calls_ = 0, most_calls_ = 0;
  const char* first_call_ = "none";
  void* volatile proof_ = nullptr;
};

Options parse(int count, char** words) {
  if (count < 3) fail("usage: clap_host PLUGIN.clap SCRIPT [--in FILE] [--out FILE] [--times FILE] [--prove]");
  Options options{words[1], words[2], {}, {}, {}};
  for (int i = 3; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--prove") {
      options.prove = true;
      continue;
    }
    std::string* value = word == "--in" ? &options.in : word == "--out" ? &options.out : &options.times;
    if ((value == &options.times && word != "--times") || i + 1 == count) fail("what is ", word, "?");
    *value = words[++i];
  }
  return options;
}

}  // namespace

int main(int count, char** words) {
  try {
    Session session(parse(count, words));
    session.run();
    std::cout << session.report().dump(1) << std::endl;
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "clap_host: " << error.what() << std::endl;
    return 1;
  }
}
