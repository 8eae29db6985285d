// See keyboard.h.
#include "keyboard.h"

namespace ravel::plugin::ui {

namespace {

constexpr bool kBlack[12] = {false, true, false, true, false, false, true, false, true, false, true, false};
constexpr int kWhiteBefore[12] = {0, 1, 1, 2, 2, 3, 4, 4, 5, 5, 6, 6};  // white keys below, in the octave

bool black(int note) { return kBlack[note % 12]; }
int white_keys_below(int note) { return note / 12 * 7 + kWhiteBefore[note % 12]; }

std::string name_of(int note) {
  constexpr const char* kNames[12] = {"C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B"};
  return kNames[note % 12] + std::to_string(note / 12 - 1);
}

}  // namespace

Rect Keyboard::key(int note) const {
  const int count = white_keys_below(kHighest) - white_keys_below(kLowest) + 1;
  const float width = bounds.w / static_cast<float>(count);
  const float x = bounds.x + width * static_cast<float>(white_keys_below(note) - white_keys_below(kLowest));
  if (black(note)) return {x - width * 0.3F, bounds.y, width * 0.6F, bounds.h * 0.62F};
  return {x, bounds.y, width - theme::kHairline, bounds.h};
}

int Keyboard::note_at(Point p) const {
  for (bool of : {true, false})
    for (int note = kLowest; note <= kHighest; ++note)
      if (black(note) == of && key(note).contains(p)) return note;
  return -1;
}

void Keyboard::draw(Canvas& canvas) {
  canvas.clip(bounds);
  for (bool of : {false, true})
    for (int note = kLowest; note <= kHighest; ++note) {
      if (black(note) != of) continue;
      Rect at = key(note);
      at.y -= theme::kRadius, at.h += theme::kRadius;  // round below only
      const bool down = note == sounding_;
      if (of) canvas.fill(at.inset(-theme::kHairline), theme::kPanel, theme::kRadius / 2);
      canvas.fill(at, down ? theme::kHand : of ? theme::kWell : theme::kText.faded(0.88F), theme::kRadius / 2);
      if (note % 12 == 0)
        canvas.text(name_of(note), at.cut_bottom(2.25F * theme::kGrid), theme::kCaption, theme::kFaint, Align::centre);
    }
}

void Keyboard::play(int note, Point p) {
  if (note == sounding_) return;
  if (sounding_ >= 0) actions().note(sounding_, 0);
  sounding_ = note;
  if (note < 0) return;
  const Rect at = key(note);
  actions().note(note, 40 + static_cast<int>(87 * std::clamp((p.y - at.y) / at.h, 0.0F, 1.0F)));
}

void Keyboard::press(const Pointer& pointer) { play(note_at(pointer.at), pointer.at); }
void Keyboard::drag(const Pointer& pointer) { play(note_at(pointer.at), pointer.at); }
void Keyboard::release(const Pointer&) { play(-1, {}); }

std::string Keyboard::hint(Point p) const {
  const int note = note_at(p);
  return note < 0 ? "" : name_of(note) + "  ·  press lower for louder, slide to glide over the keys";
}

}  // namespace ravel::plugin::ui
