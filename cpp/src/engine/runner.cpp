// Every op, on the audio thread: pointers from clocks and buffers, and one call into the kernels.
#include "engine/runner.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RAVEL_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define RAVEL_ADDRESS_SANITIZER
#endif
#if defined(RAVEL_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#endif

namespace ravel::engine {

namespace {

// One arena hides an overflow from one buffer into the next; with the sanitizer, forbidden ground lies between them.
#if defined(RAVEL_ADDRESS_SANITIZER)
constexpr std::size_t kGapBytes = 4096;
void forbid(const std::byte* gap) { __asan_poison_memory_region(gap, kGapBytes); }
#else
constexpr std::size_t kGapBytes = 0;
void forbid(const std::byte*) {}
#endif

std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

int taps(const Op& op) { return 2 * (op.noise_bands - 1); }

constexpr int kRowsAtOnce = 8;  // that are measured against a codebook while it is read

// The floats of scratch that an op needs: its filters, a row of latents three times over, or rows of products.
std::size_t scratch_floats(const Op& op, const Program& program) {
  if (op.kind == Op::Kind::noise) return std::size_t(taps(op)) * program.noises[op.noise].channels;
  if (op.kind == Op::Kind::latent) return 3 * (std::size_t(op.size) + kernels::kSlackFloats);
  if (op.kind == Op::Kind::quantise) return std::size_t(kRowsAtOnce) * op.codes;
  if (op.kind == Op::Kind::condition || op.kind == Op::Kind::codebook) return std::size_t(op.size);
  if (op.kind == Op::Kind::draw) return std::size_t(op.codes) + kernels::kDrawSlackFloats;
  return 0;
}

bool is_finite(float x) noexcept { return (std::bit_cast<std::uint32_t>(x) & 0x7F800000u) != 0x7F800000u; }

// Rows at the length sqrt(width), in one order of accumulation.
void to_sphere(const float* x, float* y, int rows, int width) noexcept {
  for (int t = 0; t < rows; ++t, x += width, y += width) {
    double square = 0;
    for (int c = 0; c < width; ++c) square += double{x[c]} * x[c];
    const auto gain = static_cast<float>(std::sqrt(double(width)) / std::max(std::sqrt(square), 1e-6));
    for (int c = 0; c < width; ++c) y[c] = x[c] * gain;
  }
}

// The whole number of a code that is meant, -1 for none.
float rounded(float number, int codes) noexcept {
  return std::nearbyint(std::clamp(number, -1.0f, static_cast<float>(codes - 1)));
}

float softplus(float x) noexcept { return x > 20 ? x : std::log1p(std::exp(x)); }  // torch's threshold

}  // namespace

Runner::Runner(const Blueprint& blueprint, const Program& program, int streams, int blocks,
               const std::vector<int>& late)
    : blueprint_(blueprint), kernels_(*blueprint.kernels), program_(program), streams_(streams) {
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < program.buffers.size(); ++i) {
    rows_.emplace_back(program.buffers[i], streams, late[i], program.buffers[i].frames * blocks);
    bytes += aligned(rows_.back().bytes()) + kGapBytes;
  }
  arena_ = Arena(bytes);
  std::byte* at = arena_.data();
  for (Rows& rows : rows_) {
    rows.place(at);
    at += aligned(rows.bytes());
    forbid(at);
    at += kGapBytes;
  }
  clocks_.resize(program.ops.size());
  for (const Noise& noise : program.noises) noises_.emplace_back(noise, streams);
  std::size_t floats = 0;
  for (const Op& op : program.ops) floats = std::max(floats, scratch_floats(op, program));
  scratch_.resize(floats + kernels::kSlackFloats);
  reset();
}

void Runner::reset() noexcept {
  for (Rows& rows : rows_) rows.reset();
  std::fill(clocks_.begin(), clocks_.end(), Clock{});
  for (NoiseState& noise : noises_) noise.reset(controls.seed);
  for (const Op& op : program_.ops) remember_noise(op);
}

void Runner::reseed() noexcept {
  for (NoiseState& noise : noises_) noise.reseed(controls.seed);
  for (const Op& op : program_.ops) remember_noise(op);
}

// A filter runs over endless noise: what came before the current position, hashed.
void Runner::remember_noise(const Op& op) noexcept {
  if (op.kind != Op::Kind::noise) return;
  Rows& white = rows_[op.noise_buffer];
  NoiseState& noise = noises_[op.noise];
  for (int stream = 0; stream < streams_; ++stream) {
    for (int back = 1; back < taps(op); ++back) {
      kernels_.noise_row(noise.keys(stream, -back), noise.low(-back),
                         white.at<float>(white.total() - back, 0, 0, stream), noise.channels());
    }
  }
}

void Runner::take(const float* const* in, int rows) noexcept {
  const Buffer& buffer = program_.buffers[program_.input];
  Rows& input = rows_[program_.input];
  input.reserve(rows);
  const int channels = program_.in_channels;
  const bool planar = buffer.planes == channels;
  for (int stream = 0; stream < streams_; ++stream) {
    for (int c = 0; c < channels; ++c) {
      const float* x = in[stream * channels + c];
      float* y = planar ? input.at<float>(input.total(), 0, c, stream) : input.at<float>(input.total(), c, 0, stream);
      for (int t = 0; t < rows; ++t, y += buffer.width) *y = is_finite(x[t]) ? x[t] : 0.0f;
    }
  }
  input.commit(rows);
}

void Runner::give(std::int64_t first, int rows, float* const* out) noexcept {
  const Rows& source = rows_[program_.output.buffer];
  const int channels = program_.out_channels;
  for (int stream = 0; stream < streams_; ++stream) {
    for (int c = 0; c < channels; ++c) {
      const float* x = source.at<float>(first - program_.output.behind, c, 0, stream);
      float* y = out[stream * channels + c];
      for (int t = 0; t < rows; ++t, x += channels) y[t] = *x;
    }
  }
}

std::vector<float> Runner::latest(int op) const {
  std::vector<float> values;
  const int buffer = program_.ops[op].raw;
  if (buffer < 0 || rows_[buffer].total() == 0) return values;
  const Rows& rows = rows_[buffer];
  for (int stream = 0; stream < streams_; ++stream) {
    const float* row = rows.at<float>(rows.total() - 1, 0, 0, stream);
    values.insert(values.end(), row, row + rows.width());
  }
  return values;
}

std::int64_t Runner::rows_ready() const noexcept { return rows_[program_.output.buffer].total(); }

Unit Runner::whole(int index, int rows_in) const noexcept {
  const Op& op = program_.ops[index];
  Unit unit;
  unit.op = index;
  for (const ConvPart& part : op.parts) unit.last_panel += blueprint_.weights[part.weights].panels;
  unit.last_row = rows_in / op.stride;
  return unit;
}

void Runner::reserve_prior(int hops) noexcept {
  for (int i = program_.first_of_prior; i < program_.after_prior; ++i) {
    open(program_.ops[i], program_.ops[i].rows_out * hops);
  }
}

void Runner::run(int op, int rows_in) noexcept { run(whole(op, rows_in), rows_in); }

void Runner::run(const Unit& unit, int rows_in) noexcept {
  const Op& op = program_.ops[unit.op];
  const Clock& clock = clocks_[unit.op];
  const int rows_out = static_cast<int>(std::int64_t{rows_in} * op.rows_out / op.rows_in);
  if (unit.opens) open(op, rows_out);
  if (unit.opens && unit.op == program_.first_of_prior) amount_ = program_.shapes_latents ? controls.prior : 1;
  if (amount_ == 0 && of_prior(unit.op)) {
    if (unit.opens) rest(op, rows_out);
    if (unit.closes) close(unit.op, rows_in, rows_out);
    return;
  }
  switch (op.kind) {
    case Op::Kind::conv: convolve(op, clock, unit); break;
    case Op::Kind::noise: make_noise(op, clock, rows_in); break;
    case Op::Kind::latent: draw_latent(op, clock, rows_in); break;
    case Op::Kind::fill: fill(op, clock, rows_in); break;
    case Op::Kind::quantise: quantise(op, clock, rows_in); break;
    case Op::Kind::codebook: look_up(op, clock, rows_in); break;
    case Op::Kind::condition: condition(op, clock, rows_in); break;
    case Op::Kind::hear: hear(op, clock); break;
    case Op::Kind::draw: draw(op, clock); break;
    default: map(op, clock, rows_in);
  }
  if (unit.closes) close(unit.op, rows_in, rows_out);
}

void Runner::open(const Op& op, int rows_out) noexcept {
  if (op.raw >= 0) rows_[op.raw].reserve(rows_out);
  if (op.act >= 0) rows_[op.act].reserve(rows_out);
  if (op.noise_buffer >= 0) rows_[op.noise_buffer].reserve(rows_out);
}

void Runner::close(int index, int rows_in, int rows_out) noexcept {
  const Op& op = program_.ops[index];
  if (op.raw >= 0) rows_[op.raw].commit(rows_out);
  if (op.act >= 0) rows_[op.act].commit(rows_out);
  if (op.noise_buffer >= 0) rows_[op.noise_buffer].commit(rows_out);
  clocks_[index].in += rows_in;
  clocks_[index].out += rows_out;
}

void Runner::convolve(const Op& op, const Clock& clock, const Unit& unit) noexcept {
  const Rows& x = rows_[op.a.buffer];
  const std::int64_t from = clock.in - op.window - op.a.behind + std::int64_t{unit.first_row} * op.stride;
  const std::int64_t to = clock.out + std::int64_t{unit.first_row} * op.out_step;
  const auto step = [&](const Rows& rows) { return std::ptrdiff_t{op.out_step} * rows.width(); };
  int panel = 0;
  for (const ConvPart& part : op.parts) {
    const kernels::Weights& weights = blueprint_.weights[part.weights];
    const int first = std::max(unit.first_panel - panel, 0);
    const int last = std::min(unit.last_panel - panel, weights.panels);
    panel += weights.panels;
    if (first >= last) continue;
    kernels::Conv call{};
    call.weights = &weights;
    call.x.first = x.bf16() ? static_cast<const void*>(x.at<std::uint16_t>(from, part.x_column, part.x_plane))
                            : static_cast<const void*>(x.at<float>(from, part.x_column, part.x_plane));
    call.x.row_stride = std::ptrdiff_t{op.stride} * x.width();
    call.x.stream_stride = x.stream_stride();
    call.x.tap_stride = op.tap_stride;
    call.frames = unit.last_row - unit.first_row;
    call.streams = streams_;
    call.first_panel = first;
    call.last_panel = last;
    if (op.b.buffer >= 0) {
      const Rows& b = rows_[op.b.buffer];
      call.add = {b.at<float>(to - op.b.behind, part.y_column), step(b), b.stream_stride()};
    }
    if (op.raw >= 0) {
      const Rows& raw = rows_[op.raw];
      call.raw = {raw.at<float>(to, part.y_column), step(raw), raw.stream_stride()};
    }
    if (op.act >= 0) {
      const Rows& act = rows_[op.act];
      void* y = act.bf16() ? static_cast<void*>(act.at<std::uint16_t>(to, part.y_column))
                           : static_cast<void*>(act.at<float>(to, part.y_column));
      call.act = {y, step(act), act.stream_stride()};
      call.act_bf16 = act.bf16();
    }
    call.slope = op.slope;
    kernels_.conv(call);
  }
}

void Runner::map(const Op& op, const Clock& clock, int rows) noexcept {
  const Rows& a = rows_[op.a.buffer];
  const Rows& y = rows_[op.raw >= 0 ? op.raw : op.act];
  const int width = a.width();
  const std::size_t n = std::size_t(rows) * width;
  for (int stream = 0; stream < streams_; ++stream) {
    const float* x = a.at<float>(clock.in - op.a.behind, 0, 0, stream);
    if (y.bf16()) {
      kernels_.to_bf16(x, op.slope, y.at<std::uint16_t>(clock.out, 0, 0, stream), n);
      continue;
    }
    float* to = y.at<float>(clock.out, 0, 0, stream);
    const float* with = op.b.buffer >= 0 ? rows_[op.b.buffer].at<float>(clock.in - op.b.behind, 0, 0, stream) : nullptr;
    switch (op.kind) {
      case Op::Kind::activate: kernels_.leaky(x, op.slope, to, n); break;
      case Op::Kind::tanh: kernels_.tanh(x, to, n); break;
      case Op::Kind::amplitude: kernels_.amplitude(x, op.offset, to, n); break;
      case Op::Kind::add: kernels_.add(x, with, to, n); break;
      case Op::Kind::multiply: kernels_.multiply(x, with, to, n); break;
      case Op::Kind::gate: kernels_.gate(x, to, std::size_t(rows), y.width()); break;
      case Op::Kind::gated_tanh: kernels_.gated_tanh(x, to, std::size_t(rows), y.width()); break;
      case Op::Kind::snake: kernels_.snake(x, op.vector.data(), to, std::size_t(rows), width); break;
      case Op::Kind::sphere: to_sphere(x, to, rows, width); break;
      case Op::Kind::repeat: {
        const int times = y.width() / width;
        for (std::size_t i = 0; i < n; ++i) to = std::fill_n(to, times, x[i]);
        break;
      }
      default: break;
    }
  }
}

void Runner::make_noise(const Op& op, const Clock& clock, int rows_in) noexcept {
  NoiseState& noise = noises_[op.noise];
  const int bands = noise.channels();
  Rows& white = rows_[op.noise_buffer];
  const Rows& y = rows_[op.raw];
  for (int stream = 0; stream < streams_; ++stream) {
    for (int t = 0; t < rows_in * op.ratio; ++t) {
      kernels_.noise_row(noise.keys(stream, t), noise.low(t), white.at<float>(clock.out + t, 0, 0, stream), bands);
    }
    for (int i = 0; i < rows_in; ++i) {
      const std::int64_t at = clock.out + std::int64_t{i} * op.ratio;
      float* to = y.at<float>(at, 0, 0, stream);
      if (!controls.noise) {
        std::fill_n(to, std::size_t(op.ratio) * bands, 0.0f);
        continue;
      }
      const float* magnitudes = rows_[op.a.buffer].at<float>(clock.in - op.a.behind + i, 0, 0, stream);
      kernels_.noise_filters(magnitudes, op.vector.data(), bands, op.noise_bands, taps(op), scratch_.data());
      const float* past = white.at<float>(at + 1 - taps(op), 0, 0, stream);
      kernels_.noise_fir(past, scratch_.data(), bands, taps(op), op.ratio, to);
    }
  }
  noise.advance(rows_in * op.ratio);
}

void Runner::draw_latent(const Op& op, const Clock& clock, int rows) noexcept {
  NoiseState& noise = noises_[op.noise];
  const std::size_t room = std::size_t(op.size) + kernels::kSlackFloats;
  float* spread = scratch_.data();
  float* drawn = spread + room;
  for (int t = 0; t < rows; ++t) {
    for (int stream = 0; stream < streams_; ++stream) {
      const float* mean = rows_[op.a.buffer].at<float>(clock.in - op.a.behind + t, 0, 0, stream);
      float* z = rows_[op.raw].at<float>(clock.out + t, 0, 0, stream);
      std::copy_n(mean, op.kept, z);
      if (controls.temperature == 0) {
        if (!program_.shapes_latents) edit(z, op.kept, stream);
        continue;
      }
      noise.gaussian(stream, t, spread);
      for (int c = 0; c < op.size; ++c) spread[c] *= softplus(mean[op.size + c]) + 1e-4f;
      const kernels::Weights& rotation = blueprint_.weights[op.parts[0].weights];
      kernels::Conv call{};
      call.weights = &rotation;
      call.x.first = spread;
      call.frames = call.streams = 1;
      call.last_panel = rotation.panels;
      call.raw.first = drawn;
      kernels_.conv(call);
      for (int c = 0; c < op.kept; ++c) z[c] += controls.temperature * drawn[c];
      if (!program_.shapes_latents) edit(z, op.kept, stream);
    }
  }
  noise.advance(rows);
}

void Runner::edit(float* z, int latents, int stream) noexcept {
  if (controls.hook.edit) controls.hook.edit(controls.hook.self, z, latents, stream);
}

// |x - c|^2 is least where x.c - |c|^2 / 2 is largest, the first of equals.
void Runner::quantise(const Op& op, const Clock& clock, int rows) noexcept {
  const kernels::Weights& book = blueprint_.weights[op.parts[0].weights];
  const float* vectors = blueprint_.tables[op.table].data() + std::size_t(op.quantiser) * op.codes * op.size;
  const int found = op.quantiser;
  const Rows& from = rows_[op.a.buffer];
  const Rows& to = rows_[op.raw];
  const bool last = to.width() == found + 1;
  for (int stream = 0; stream < streams_; ++stream) {
    for (int first = 0; first < rows; first += kRowsAtOnce) {
      const int count = std::min(kRowsAtOnce, rows - first);
      const std::int64_t row = clock.in - op.a.behind + first;
      kernels::Conv call{};
      call.weights = &book;
      call.x.first = from.at<float>(row, found, 0, stream);
      call.x.row_stride = from.width();
      call.frames = count;
      call.streams = 1;
      call.last_panel = book.panels;
      call.raw.first = scratch_.data();
      call.raw.row_stride = op.codes;
      kernels_.conv(call);
      for (int t = 0; t < count; ++t) {
        const float* products = scratch_.data() + std::size_t(t) * op.codes;
        const auto code = std::max_element(products, products + op.codes) - products;
        const float* x = from.at<float>(row + t, 0, 0, stream);
        float* y = to.at<float>(clock.out + first + t, 0, 0, stream);
        y = std::copy_n(x, found, y);
        *y++ = static_cast<float>(code);
        if (last) continue;
        const float* vector = vectors + code * op.size;
        for (int c = 0; c < op.size; ++c) y[c] = x[found + c] - vector[c];
      }
    }
  }
}

void Runner::look_up(const Op& op, const Clock& clock, int rows) noexcept {
  const int quantisers = rows_[op.a.buffer].width();
  for (int t = 0; t < rows; ++t) {
    for (int stream = 0; stream < streams_; ++stream) {
      float* y = rows_[op.raw].at<float>(clock.out + t, 0, 0, stream);
      add_codes(op, rows_[op.a.buffer].at<float>(clock.in - op.a.behind + t, 0, 0, stream), quantisers, y);
      if (op.b.buffer >= 0 && amount_ > 0) {
        const float* alone = rows_[op.b.buffer].at<float>(clock.in - op.b.behind + t, 0, 0, stream);
        add_codes(op, alone, quantisers, scratch_.data());
        blend(y, scratch_.data(), y, op.size);
      }
      if (op.scaled) {
        for (int c = 0; c < op.size; ++c) y[c] = y[c] * controls.scale[c] + controls.bias[c];
      }
      if (op.hooked) edit(y, op.size, stream);
    }
  }
}

// The sum of the vectors that numbers stand for, and the offset.
void Runner::add_codes(const Op& op, const float* numbers, int quantisers, float* y) const noexcept {
  const float* vectors = blueprint_.tables[op.table].data();
  std::copy_n(op.vector.data(), op.size, y);
  for (int i = 0; i < quantisers; ++i, vectors += std::size_t(op.codes) * op.size) {
    const float number = rounded(numbers[i] - op.first, op.codes);
    if (number < 0) continue;
    const float* vector = vectors + static_cast<std::size_t>(number) * op.size;
    for (int c = 0; c < op.size; ++c) y[c] += vector[c];
  }
}

// At 1 nothing is left of the other, not even its rounding.
void Runner::blend(const float* mine, const float* prior, float* y, int n) const noexcept {
  for (int c = 0; c < n; ++c) y[c] = amount_ == 1 ? prior[c] : mine[c] + amount_ * (prior[c] - mine[c]);
}

// Nothing is drawn and nothing remembered: zeros stand for no code, and for what the layers keep after a reset. Rows
// that nobody looks back to, the logits among them, are left as they are.
void Runner::rest(const Op& op, int rows_out) noexcept {
  for (const int buffer : {op.raw, op.act}) {
    if (buffer >= 0 && program_.buffers[buffer].history > 0) rows_[buffer].clear(rows_out);
  }
  if (op.kind == Op::Kind::draw) noises_[op.noise].advance(1);
}

// A frame is heard or not, as a whole: its numbers from 1, and 0 where it says nothing.
void Runner::hear(const Op& op, const Clock& clock) noexcept {
  const Rows& from = rows_[op.a.buffer];
  for (int stream = 0; stream < streams_; ++stream) {
    const float* x = from.at<float>(clock.in - op.a.behind, 0, 0, stream);
    float* y = rows_[op.raw].at<float>(clock.out, 0, 0, stream);
    const bool heard = noises_[op.noise].uniform(stream, 0, op.quantisers) >= amount_;
    const int told = heard ? std::min(from.width(), op.quantisers) : 0;
    for (int i = 0; i < told; ++i) y[i] = rounded(x[i], op.codes) + 1;
    std::fill_n(y + told, op.quantisers - told, 0.0f);
  }
}

// The next row of the pattern, code i of the frame i rows ago, and the frame that it completes.
void Runner::draw(const Op& op, const Clock& clock) noexcept {
  const Rows &pattern = rows_[op.raw], &frames = rows_[op.act];
  const int last = op.quantisers - 1;
  for (int stream = 0; stream < streams_; ++stream) {
    const float* logits = rows_[op.a.buffer].at<float>(clock.in - op.a.behind, 0, 0, stream);
    float temperature = controls.prior_temperature;
    if (op.warmth.buffer >= 0) temperature += *rows_[op.warmth.buffer].at<float>(clock.in, 0, 0, stream);
    temperature = std::clamp(temperature, 0.0f, 10.0f);
    float* row = pattern.at<float>(clock.out, 0, 0, stream);
    for (int i = 0; i <= last; ++i) {
      row[i] = op.b.buffer >= 0 ? *rows_[op.b.buffer].at<float>(clock.out - i, i, 0, stream) : 0;
      if (row[i] > 0) continue;
      const float share = noises_[op.noise].uniform(stream, 0, i);
      const float* of_code = logits + std::ptrdiff_t{i} * op.codes;
      row[i] = 1 + static_cast<float>(kernels_.draw(of_code, op.codes, temperature, share, scratch_.data()));
    }
    float* frame = frames.at<float>(clock.out, 0, 0, stream);
    for (int i = 0; i < frames.width(); ++i) frame[i] = *pattern.at<float>(clock.out - last + i, i, 0, stream) - 1;
  }
  noises_[op.noise].advance(1);
}

// The blend first: rows of a call share it, and most labels weigh nothing.
void Runner::condition(const Op& op, const Clock& clock, int rows) noexcept {
  const float* table = blueprint_.tables[op.table].data();
  float* blend = scratch_.data();
  std::fill_n(blend, op.size, 0.0f);
  for (const float weight : controls.labels) {
    if (weight != 0) {
      for (int c = 0; c < op.size; ++c) blend[c] += weight * table[c];
    }
    table += op.size;
  }
  for (int stream = 0; stream < streams_; ++stream) {
    for (int t = 0; t < rows; ++t) {
      const float* x = rows_[op.a.buffer].at<float>(clock.in - op.a.behind + t, 0, 0, stream);
      float* y = rows_[op.raw].at<float>(clock.out + t, 0, 0, stream);
      for (int c = 0; c < op.size; ++c) y[c] = x[c] + blend[c];
    }
  }
}

void Runner::fill(const Op& op, const Clock& clock, int rows) noexcept {
  NoiseState& noise = noises_[op.noise];
  for (int t = 0; t < rows; ++t) {
    for (int stream = 0; stream < streams_; ++stream) {
      const float* x = rows_[op.a.buffer].at<float>(clock.in - op.a.behind + t, 0, 0, stream);
      float* y = rows_[op.raw].at<float>(clock.out + t, 0, 0, stream);
      if (op.b.buffer >= 0 && amount_ > 0) {
        blend(x, rows_[op.b.buffer].at<float>(clock.in - op.b.behind + t, 0, 0, stream), y, op.kept);
        x = y;
      }
      for (int c = 0; c < op.kept; ++c) y[c] = x[c] * controls.scale[c] + controls.bias[c];
      edit(y, op.kept, stream);
      float* rest = y + op.kept;
      if (controls.fill == 0) {
        std::fill_n(rest, op.size - op.kept, 0.0f);
        continue;
      }
      noise.gaussian(stream, t, rest);
      for (int c = 0; c < op.size - op.kept; ++c) rest[c] *= controls.fill;
    }
  }
  noise.advance(rows);
}

}  // namespace ravel::engine
