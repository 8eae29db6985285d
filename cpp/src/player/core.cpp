// Controls are read at the beginning of a hop; a hop that is not finite is silence and clears the histories.
#include "player/core.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "model/attributes.h"

namespace ravel::player {

namespace {

constexpr double kRampSeconds = 0.02;

int ramp_hops(const Info& info) {
  return std::max(1, static_cast<int>(std::lround(kRampSeconds * info.sample_rate_hz / info.hop_samples)));
}

}  // namespace

Core::Core(const std::shared_ptr<const Model>& model, Method method, const Settings& settings, Board& board)
    : board_(board),
      in_channels_(settings.streams * model->info().method(method).in_channels),
      out_channels_(settings.streams * model->info().method(method).out_channels),
      ramp_hops_(ramp_hops(model->info())),
      model_temperature_(model->info().temperature),
      info_(model->info()),
      engine_(model, method, settings),
      shaper_(board, model->info().latents, settings.streams, ramp_hops_),
      labels_(model->info().labels.size()),
      script_(model->info().script),
      in_(static_cast<std::size_t>(in_channels_)),
      out_(static_cast<std::size_t>(out_channels_)) {
  const float temperature = board.value(Control::temperature);
  temperature_.jump(std::isnan(temperature) ? model_temperature_ : temperature);
  fill_.jump(board.value(Control::fill));
  prior_.jump(board.value(Control::prior));
  prior_temperature_.jump(board.value(Control::prior_temperature));
  for (std::size_t i = 0; i < labels_.size(); ++i) {
    labels_[i].jump(board.labels[i].load());
    engine_.set_label_weight(static_cast<int>(i), labels_[i].now());
  }
  seed_ = board.seed.load();
  engine_.set_seed(seed_);
  engine_.set_latent_hook(shaper_.hook());
  engine_.set_message_hook(board.messages.hook());
  engine_.reset();
}

bool Core::follow() noexcept {
  const float temperature = board_.value(Control::temperature);
  temperature_.aim(std::isnan(temperature) ? model_temperature_ : temperature, ramp_hops_);
  fill_.aim(board_.value(Control::fill), ramp_hops_);
  engine_.set_temperature(temperature_.next());
  engine_.set_fill(fill_.next());
  prior_.aim(board_.value(Control::prior), ramp_hops_);
  prior_temperature_.aim(board_.value(Control::prior_temperature), ramp_hops_);
  engine_.set_prior(prior_.next());
  engine_.set_prior_temperature(prior_temperature_.next());
  engine_.set_noise(board_.on(Switch::noise));
  const std::int64_t seed = board_.seed.load(std::memory_order_relaxed);
  if (seed != seed_) {
    engine_.set_seed(seed);
    shaper_.reseed(seed);
    seed_ = seed;
  }
  if (script_) follow_attributes();
  const bool labels_still = follow_labels();
  return labels_still && temperature_.still() && fill_.still() && prior_.still() && prior_temperature_.still();
}

bool Core::follow_labels() noexcept {
  bool still = true;
  for (std::size_t i = 0; i < labels_.size(); ++i) {
    Ramp& weight = labels_[i];
    weight.aim(board_.labels[i].load(std::memory_order_relaxed), ramp_hops_);
    if (weight.still()) continue;
    engine_.set_label_weight(static_cast<int>(i), weight.next());
    still = still && weight.still();
  }
  return still;
}

// Of a script, on the worker's thread: what was set since, and what the script says then.
void Core::follow_attributes() noexcept {
  if (board_.attributes.newest() == attributes_seen_) return;
  for (const AttributeBoard::Call& call : board_.attributes.after(attributes_seen_)) {
    attributes_seen_ = call.serial;
    try {
      const AttributeInfo& about = find_attribute(info_, call.name);
      const Values values = fitted(about, call.values);  // they may be meant for another model
      try {
        engine_.set_attribute(call.name, values);
      } catch (const Error& error) {
        board_.messages.say(info_.name + ": " + error.what());
      }
      board_.attributes.tell(&info_, call.serial, call.name, engine_.attribute(call.name));
    } catch (const Error&) {
      continue;
    }
  }
}

void Core::run(const float* const* in, float* const* out, int hops) noexcept {
  std::copy_n(in, in_channels_, in_.data());
  std::copy_n(out, out_channels_, out_.data());
  while (hops > 0) {
    const int count = follow() || script_ ? hops : 1;  // a script costs by the call
    engine_.process(in_.data(), out_.data(), count);
    if (!silence_unless_finite(out_.data(), count * engine_.out_frames())) reset();
    for (auto& row : in_) row += count * engine_.in_frames();
    for (auto& row : out_) row += count * engine_.out_frames();
    hops -= count;
  }
}

void Core::slice(const float* const* in, float* const* out) noexcept {
  if (slice_ == 0) {
    if (poisoned_) reset();  // only here: the slices' place in the hop stays what it was
    follow();
  }
  slice_ = (slice_ + 1) % engine_.settings().slices;
  engine_.begin(in);
  engine_.advance();
  engine_.end(out);
  const int rows = engine_.out_frames() > 1 ? engine_.out_frames() / engine_.settings().slices : 1;
  if (poisoned_) {
    for (int i = 0; i < out_channels_; ++i) std::fill_n(out[i], rows, 0.0f);
  } else {
    poisoned_ = !silence_unless_finite(out, rows);
  }
}

void Core::reset() noexcept {
  engine_.reset();
  shaper_.reset();
  slice_ = 0;
  poisoned_ = false;
}

bool Core::silence_unless_finite(float* const* out, int rows) noexcept {
  std::uint32_t largest = 0;
  for (int i = 0; i < out_channels_; ++i) {
    for (int t = 0; t < rows; ++t) largest = std::max(largest, std::bit_cast<std::uint32_t>(out[i][t]) & 0x7FFFFFFFu);
  }
  if (largest < 0x7F800000u) return true;
  for (int i = 0; i < out_channels_; ++i) std::fill_n(out[i], rows, 0.0f);
  return false;
}

}  // namespace ravel::player
