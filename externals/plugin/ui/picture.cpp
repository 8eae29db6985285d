// See picture.h.
#include "picture.h"

#include <cmath>

namespace ravel::plugin::ui {

void Picture::bind() const { glBindTexture(GL_TEXTURE_2D, texture_); }

void Picture::create(int width, int height, const std::uint8_t* pixels, Edge edge) {
  width_ = width, height_ = height;
  if (texture_ == 0) glGenTextures(1, &texture_);
  bind();
  const int filter = edge == Edge::repeat ? GL_LINEAR : GL_NEAREST;
  glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MIN_FILTER, filter);
  glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MAG_FILTER, filter);
  glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_WRAP_S, edge == Edge::repeat ? GL_REPEAT : GL_CLAMP_TO_EDGE);
  glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_WRAP_T, GL_CLAMP_TO_EDGE);
  // BGRA is what windows are made of: copies from and to them are plain.
  glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA, width, height, 0, pixels ? GL_RGBA : GL_BGRA, GL_UNSIGNED_BYTE, pixels);
  glBindTexture(GL_TEXTURE_2D, 0);
}

void Picture::update(int x, int width, const std::uint8_t* pixels) {
  bind();
  glPixelStorei(GL_UNPACK_ROW_LENGTH, width_);
  glTexSubImage2D(GL_TEXTURE_2D, 0, x, 0, width, height_, GL_RGBA, GL_UNSIGNED_BYTE,
                  pixels + static_cast<std::size_t>(x) * 4);
  glPixelStorei(GL_UNPACK_ROW_LENGTH, 0);
  glBindTexture(GL_TEXTURE_2D, 0);
}

void Picture::copy_from_window(const Rect& pixels) const {
  const int left = std::max(0, static_cast<int>(std::floor(pixels.x)));
  const int top = std::max(0, static_cast<int>(std::floor(pixels.y)));
  const int right = std::min(width_, static_cast<int>(std::ceil(pixels.right())));
  const int bottom = std::min(height_, static_cast<int>(std::ceil(pixels.bottom())));
  if (right <= left || bottom <= top) return;
  bind();
  glCopyTexSubImage2D(GL_TEXTURE_2D, 0, left, height_ - bottom, left, height_ - bottom, right - left, bottom - top);
  glBindTexture(GL_TEXTURE_2D, 0);
}

void Picture::draw(const Rect& pixels, float left, float right) const {
  glDisable(GL_BLEND);
  glEnable(GL_TEXTURE_2D);
  glTexEnvi(GL_TEXTURE_ENV, GL_TEXTURE_ENV_MODE, GL_REPLACE);
  bind();
  glBegin(GL_QUADS);
  glTexCoord2f(left, 0), glVertex2f(pixels.x, pixels.y);
  glTexCoord2f(right, 0), glVertex2f(pixels.right(), pixels.y);
  glTexCoord2f(right, 1), glVertex2f(pixels.right(), pixels.bottom());
  glTexCoord2f(left, 1), glVertex2f(pixels.x, pixels.bottom());
  glEnd();
  glBindTexture(GL_TEXTURE_2D, 0);
  glDisable(GL_TEXTURE_2D);
  glEnable(GL_BLEND);
}

bool Layer::resize(int width, int height) {
  if (width == width_ && height == height_) return false;
  create(width, height, nullptr, Edge::clamp);
  return true;
}

// A copy of the window has its first row at the bottom.
void Layer::put() const {
  const auto w = static_cast<float>(width_), h = static_cast<float>(height_);
  draw({0, h, w, -h}, 0, 1);
}

}  // namespace ravel::plugin::ui
