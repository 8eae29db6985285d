// Notes and controllers.
#include "midi.h"

#include <algorithm>

namespace ravel::plugin {

void Keys::press(int note, float velocity) noexcept {
  for (int i = 0; i < count_; ++i) {
    if (keys_[static_cast<std::size_t>(i)].note == note) return erase(i), press(note, velocity);
  }
  if (count_ == kMost) erase(0);
  keys_[static_cast<std::size_t>(count_++)] = {note, velocity, true};
  lead();
}

void Keys::release(int note) noexcept {
  for (int i = 0; i < count_; ++i) {
    Key& key = keys_[static_cast<std::size_t>(i)];
    if (key.note != note) continue;
    key.down = false;
    if (!pedal_) erase(i);
    return lead();
  }
}

void Keys::pedal(bool down) noexcept {
  pedal_ = down;
  for (int i = count_ - 1; i >= 0 && !down; --i) {
    if (!keys_[static_cast<std::size_t>(i)].down) erase(i);
  }
  lead();
}

void Keys::all_off() noexcept { count_ = 0; }

void Keys::erase(int index) noexcept {
  std::move(keys_.begin() + index + 1, keys_.begin() + count_, keys_.begin() + index);
  --count_;
}

void Keys::lead() noexcept {
  if (count_ == 0) return;
  note_ = keys_[static_cast<std::size_t>(count_ - 1)].note;
  velocity_ = keys_[static_cast<std::size_t>(count_ - 1)].velocity;
}

float Envelope::next(bool open, float attack_step, float release_step) noexcept {
  now_ = open ? std::min(1.0F, now_ + attack_step) : std::max(0.0F, now_ - release_step);
  return now_;
}

void Assignments::clear() noexcept {
  for (auto& parameter : parameters_) parameter = -1;
}

int Assignments::controller_of(int parameter) const noexcept {
  for (int i = 0; i < 128; ++i) {
    if (parameters_[static_cast<std::size_t>(i)] == parameter) return i;
  }
  return -1;
}

void Assignments::assign(int controller, int parameter) noexcept {
  if (controller < 0 || controller > 127 || parameter < 0 || parameter >= kParameters) return;
  forget(parameter);
  parameters_[static_cast<std::size_t>(controller)] = static_cast<std::int16_t>(parameter);
}

void Assignments::forget(int parameter) noexcept {
  const int controller = controller_of(parameter);
  if (controller >= 0) parameters_[static_cast<std::size_t>(controller)] = -1;
}

int Assignments::move(int controller) noexcept {
  int waiting = learning_;
  if (waiting >= 0 && learning_.compare_exchange_strong(waiting, -1)) assign(controller, waiting);
  return parameters_[static_cast<std::size_t>(controller)];
}

}  // namespace ravel::plugin
