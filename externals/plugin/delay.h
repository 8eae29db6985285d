// A signal later by whole samples, for any number of channels; what is not finite is silence.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

namespace ravel::plugin {

class Delay {
 public:
  void prepare(int channels, int samples) {
    length_ = static_cast<std::size_t>(samples);
    rows_.assign(static_cast<std::size_t>(channels), std::vector<float>(length_, 0.0F));
    at_ = 0;
  }
  // `in` and `out` may be the same memory.
  void process(const float* const* in, float* const* out, int frames) noexcept {
    std::size_t at = at_;
    for (std::size_t c = 0; c < rows_.size(); ++c) {
      at = at_;
      for (int t = 0; t < frames; ++t) {
        const float now = std::isfinite(in[c][t]) ? in[c][t] : 0;
        out[c][t] = length_ > 0 ? rows_[c][at] : now;
        if (length_ > 0) rows_[c][at] = now;
        if (++at >= length_) at = 0;
      }
    }
    at_ = at;
  }

 private:
  std::size_t length_ = 0, at_ = 0;
  std::vector<std::vector<float>> rows_;
};

}  // namespace ravel::plugin
