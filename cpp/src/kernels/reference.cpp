// The table in plain C++ and double precision: what the other tables are tested against. Slow.
#include <cmath>

#include "pack.h"
#include "tables.h"

namespace ravel::kernels {
namespace {

int panel_width(int, Format, int) noexcept { return 8; }

double weight_of(const Weights& w, int output, int tap, int i) noexcept {
  const int panel = output / w.width, column = output % w.width;
  if (w.format == f32)
    return static_cast<const float*>(w.data)[((std::size_t(panel) * w.taps + tap) * w.run + i) * w.width + column];
  const int pairs = (w.run + 1) / 2;
  const std::size_t pair = ((std::size_t(panel) * w.taps + tap) * pairs + i / 2) * w.width + column;
  return from_bf16(static_cast<const std::uint16_t*>(w.data)[pair * 2 + i % 2]);
}

double value_of(const void* first, std::ptrdiff_t at, Format format) noexcept {
  if (format == bf16_dot) return from_bf16(static_cast<const std::uint16_t*>(first)[at]);
  return static_cast<const float*>(first)[at];
}

float leaky_of(float y, float slope) noexcept { return y < 0 ? slope * y : y; }

void conv_row(const Conv& c, int stream, int t) noexcept {
  const Weights& w = *c.weights;
  const auto offset = [&](const auto& rows) { return stream * rows.stream_stride + t * rows.row_stride; };
  for (int o = c.first_panel * w.width; o < c.last_panel * w.width && o < w.outputs; ++o) {
    double sum = 0;
    for (int tap = 0; tap < w.taps; ++tap)
      for (int i = 0; i < w.run; ++i)
        sum += weight_of(w, o, tap, i) * value_of(c.x.first, offset(c.x) + tap * c.x.tap_stride + i, w.format);
    if (w.bias) sum += w.bias[o];
    if (c.add.first) sum += c.add.first[offset(c.add) + o];
    const float y = float(sum), activated = leaky_of(y, c.slope);
    if (c.raw.first) static_cast<float*>(c.raw.first)[offset(c.raw) + o] = y;
    if (!c.act.first) continue;
    if (c.act_bf16) {
      static_cast<std::uint16_t*>(c.act.first)[offset(c.act) + o] = kernels::to_bf16(activated);
    } else {
      static_cast<float*>(c.act.first)[offset(c.act) + o] = activated;
    }
  }
}

void conv(const Conv& c) noexcept {
  for (int stream = 0; stream < c.streams; ++stream)
    for (int t = 0; t < c.frames; ++t) conv_row(c, stream, t);
}

double sigmoid(double x) noexcept { return 1 / (1 + std::exp(-x)); }

void leaky(const float* x, float slope, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = leaky_of(x[i], slope);
}

void to_bf16(const float* x, float slope, std::uint16_t* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = kernels::to_bf16(leaky_of(x[i], slope));
}

void tanh(const float* x, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = float(std::tanh(double(x[i])));
}

void amplitude(const float* x, float offset, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = float(2 * std::pow(sigmoid(double(x[i]) + offset), 2.3) + 1e-7);
}

void add(const float* a, const float* b, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}

void multiply(const float* a, const float* b, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; ++i) y[i] = a[i] * b[i];
}

void gate(const float* x, float* y, std::size_t rows, int channels) noexcept {
  for (std::size_t r = 0; r < rows; ++r)
    for (int c = 0; c < channels; ++c)
      y[r * channels + c] = float(x[2 * r * channels + c] * sigmoid(x[(2 * r + 1) * channels + c]));
}

void gated_tanh(const float* x, float* y, std::size_t rows, int channels) noexcept {
  for (std::size_t r = 0; r < rows; ++r)
    for (int c = 0; c < channels; ++c)
      y[r * channels + c] = float(std::tanh(double(x[2 * r * channels + c])) * sigmoid(x[(2 * r + 1) * channels + c]));
}

int draw(const float* x, int n, float temperature, float share, float*) noexcept {
  int likeliest = 0;
  for (int i = 1; i < n; ++i)
    if (x[i] > x[likeliest]) likeliest = i;
  if (temperature <= 0) return likeliest;
  const double coldest = 1e-3, top = x[likeliest], scale = 1 / std::fmax(temperature, coldest);
  double total = 0, mass = 0;
  for (int i = 0; i < n; ++i) total += std::exp((x[i] - top) * scale);
  for (int i = 0; i < n; ++i) {
    mass += std::exp((x[i] - top) * scale);
    if (mass > share * total) return i;
  }
  return n - 1;
}

void snake(const float* x, const float* alpha, float* y, std::size_t rows, int channels) noexcept {
  for (std::size_t r = 0; r < rows; ++r)
    for (int c = 0; c < channels; ++c) {
      const std::size_t at = r * channels + c;
      const float angle = alpha[c] * x[at];  // rounded to float, as in training
      const double sine = std::sin(double(angle));
      y[at] = float(x[at] + sine * sine / (double(alpha[c]) + 1e-9));
    }
}

// MurmurHash3's 32-bit finaliser (Appleby, public domain), as in python/model/noise.py.
std::uint32_t mix(std::uint32_t x) noexcept {
  x = (x ^ (x >> 16)) * 0x85EBCA6Bu;
  x = (x ^ (x >> 13)) * 0xC2B2AE35u;
  return x ^ (x >> 16);
}

void noise_row(const std::uint32_t* keys, std::uint32_t frame, float* y, int channels) noexcept {
  for (int c = 0; c < channels; ++c) y[c] = float(mix(keys[c] ^ frame) >> 8) * 0x1p-23f - 1.0f;
}

void noise_filters(const float* magnitudes, const float* response, int bands, int noise_bands, int taps,
                   float* filters) noexcept {
  for (int k = 0; k < taps; ++k)
    for (int b = 0; b < bands; ++b) {
      double sum = 0;
      for (int i = 0; i < noise_bands; ++i) sum += double(magnitudes[b * noise_bands + i]) * response[i * taps + k];
      filters[k * bands + b] = float(sum);
    }
}

void noise_fir(const float* noise, const float* filters, int bands, int taps, int rows, float* y) noexcept {
  for (int t = 0; t < rows; ++t)
    for (int b = 0; b < bands; ++b) {
      double sum = 0;
      for (int k = 0; k < taps; ++k) sum += double(noise[(t + k) * bands + b]) * filters[k * bands + b];
      y[t * bands + b] = float(sum);
    }
}

const Table kTable{
    .isa = Isa::reference,
    .lanes = 1,
    .panel_width = panel_width,
    .conv = conv,
    .leaky = leaky,
    .to_bf16 = to_bf16,
    .tanh = tanh,
    .amplitude = amplitude,
    .add = add,
    .multiply = multiply,
    .gate = gate,
    .gated_tanh = gated_tanh,
    .snake = snake,
    .draw = draw,
    .noise_row = noise_row,
    .noise_filters = noise_filters,
    .noise_fir = noise_fir,
    .flush_denormals = flush_denormals,
    .restore_denormals = restore_denormals,
};

}  // namespace

const Table& reference_table() noexcept { return kTable; }

}  // namespace ravel::kernels
