// A model file, read and checked, its weights packed: immutable, shared by any number of engines. A `.ravel`, or in
// builds with libtorch a `.ts` of the nn~ protocol.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "ravel/cpu.h"
#include "ravel/error.h"

namespace ravel {

enum class Method { forward, encode, decode, prior };  // prior: goes on by itself, giving what `decode` takes
inline constexpr std::array kEveryMethod = {Method::forward, Method::encode, Method::decode, Method::prior};

const char* name(Method method) noexcept;
// What goes in and comes out: samples, or latent frames (into `prior`: what to add to its temperature).
constexpr bool takes_audio(Method m) noexcept { return m == Method::forward || m == Method::encode; }
constexpr bool gives_audio(Method m) noexcept { return m == Method::forward || m == Method::decode; }

// One method of a model. A ratio is samples per frame: 1 for audio, the hop for latents.
struct MethodInfo {
  int in_channels = 0, in_ratio = 1;
  int out_channels = 0, out_ratio = 1;
  int delay_samples = 0;  // by which the output is late, waiting for a whole hop excluded
};

// An attribute of a script: what a performer may set besides the player's own controls.
enum class ValueType { boolean, integer, number, text, other };       // other: a tensor, which nobody can give
using Value = std::variant<bool, std::int64_t, double, std::string>;  // by ValueType
using Values = std::vector<Value>;

struct AttributeInfo {
  std::string name;
  std::vector<ValueType> types;
  Values initial;  // as loaded
};

struct Info {
  std::string name, preset;
  int sample_rate_hz = 0;  // 0: a script that does not tell, and plays at any
  int channels = 0;        // audio channels
  int hop_samples = 0;     // one latent frame
  int latents = 0;         // played; `latent_size` counts those that fill completes too
  int latent_size = 0;
  // A discrete model: `encode` gives and `decode` takes the numbers of `codes` codes, a channel a quantiser; its latents
  // are the components of what they stand for. 0: none.
  int quantisers = 0, codes = 0;
  std::vector<std::string> labels;  // of the instruments that it plays; none: one instrument
  bool bf16_weights = false;
  float temperature = 0;                                // default of the attribute
  std::array<MethodInfo, kEveryMethod.size()> methods;  // by Method; one that a model lacks has no channels
  std::vector<float> fidelity_curve;  // cumulative share of variance of the strongest 1, 2, ... latents
  std::string card;                   // JSON: everything else that the exporter knew

  // Of a script only.
  bool script = false;
  int call_hops = 1;  // hops that it is given at once, since every call has a price
  std::vector<AttributeInfo> attributes;
  std::string remark;  // what a player should know and the file cannot say

  const MethodInfo& method(Method m) const noexcept { return methods[static_cast<std::size_t>(m)]; }
};

namespace engine {
struct Blueprint;
}
namespace script {
class Script;
}

bool plays_scripts() noexcept;  // this build holds libtorch

class Model {
 public:
  // Reads the whole file, checks it, packs the weights for `isa` and touches them; the file is not used afterwards.
  // Throws Error, naming the node or tensor, for anything that is not a sound model.
  static std::shared_ptr<const Model> load(const std::string& path, Isa isa = best_isa());
  static std::shared_ptr<const Model> parse(const std::byte* bytes, std::size_t size, Isa isa = best_isa());

  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const Info& info() const noexcept { return info_; }
  Isa isa() const noexcept { return isa_; }
  std::size_t weight_bytes() const noexcept;

  // Runs the golden pair that travels in the file through every method: the largest error over its peak, by Method.
  // Throws Error for a script, which has none.
  std::array<double, kEveryMethod.size()> selftest() const;

  // For Engine. A script has no blueprint, everything else no script.
  const engine::Blueprint& blueprint() const noexcept { return *blueprint_; }
  const std::shared_ptr<const script::Script>& script() const noexcept { return script_; }

 private:
  Model() = default;
  static std::shared_ptr<Model> read(const std::byte* bytes, std::size_t size, Isa isa);

  Info info_;
  Isa isa_ = Isa::reference;
  std::unique_ptr<const engine::Blueprint> blueprint_;
  std::shared_ptr<const script::Script> script_;
  struct Golden;
  std::unique_ptr<const Golden> golden_;
};

}  // namespace ravel
