// Every instruction set against the oracle, and the law that one output has one order of accumulation.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/pack.h"
#include "ravel/error.h"

namespace {

using ravel::Isa;
using namespace ravel::kernels;

constexpr float kGuard = 12345.0f;
constexpr std::uint16_t kGuardHalf = 0xABCD;

struct Random {
  std::uint32_t state = 1;
  std::uint32_t next() {
    state = state * 1664525u + 1013904223u;
    return state >> 8;
  }
  float value() { return float(next()) * 0x1p-23f - 1.0f; }
  int pick(std::initializer_list<int> from) { return from.begin()[next() % from.size()]; }
};

struct Memory {
  explicit Memory(std::size_t bytes) : data(::operator new(bytes, std::align_val_t(kAlignment))) {}
  ~Memory() { ::operator delete(data, std::align_val_t(kAlignment)); }
  Memory(const Memory&) = delete;
  void* data;
};

struct Shape {
  int outputs = 96, taps = 3, run = 32;
  Format format = f32;
  int frames = 4, streams = 1, dilation = 1;
  bool bias = true, add = true, raw = true, act = true, act_bf16 = false;
};

std::string text(const Shape& s) {
  std::string t;
  for (const int v : {s.outputs, s.taps, s.run, int(s.format), s.frames, s.streams, s.dilation})
    t += std::to_string(v) + " ";
  for (const bool b : {s.bias, s.add, s.raw, s.act, s.act_bf16}) t += b ? '1' : '0';
  return t;
}

// The data of a call, and the outputs that a table gives for it. Rows have gaps, streams too; all of them are guarded.
struct Problem {
  explicit Problem(const Shape& shape, std::uint32_t seed = 1) : s(shape) {
    Random random{seed};
    weight.resize(std::size_t(s.outputs) * s.taps * s.run);
    bias.resize(s.outputs);
    rows = s.frames + (s.taps - 1) * s.dilation;
    x.resize(std::size_t(s.streams) * rows * s.run);
    add.resize(std::size_t(s.streams) * s.frames * s.outputs);
    for (auto* values : {&weight, &bias, &x, &add})
      for (float& v : *values) v = random.value();
    for (const float v : x) x_half.push_back(to_bf16(v));
    if (s.format == bf16_dot)
      for (float& v : x) v = from_bf16(to_bf16(v));
    if (s.format != f32)
      for (float& v : weight) v = from_bf16(to_bf16(v));
  }

  std::ptrdiff_t out_stride() const { return s.outputs + 3; }
  std::ptrdiff_t out_stream() const { return out_stride() * s.frames + 5; }
  std::size_t out_size() const { return std::size_t(out_stream()) * s.streams; }

  Shape s;
  int rows;
  std::vector<float> weight, bias, x, add;
  std::vector<std::uint16_t> x_half;
};

struct Result {
  std::vector<float> raw, act;
  std::vector<std::uint16_t> act_half;
  bool operator==(const Result& other) const {
    return std::memcmp(raw.data(), other.raw.data(), raw.size() * 4) == 0 &&
           std::memcmp(act.data(), other.act.data(), act.size() * 4) == 0 && act_half == other.act_half;
  }
};

// Calls of `frames` frames and `panels` panels at a time (0: all), one stream at a time or all.
struct Split {
  int frames = 0, panels = 0;
  bool each_stream = false;
};

Result run(const Table& table, const Problem& p, int width, Split split = {}) {
  const Shape& s = p.s;
  Memory memory(packed_bytes(s.outputs, s.taps, s.run, width, s.format, s.bias));
  const Weights w =
      pack(p.weight.data(), s.bias ? p.bias.data() : nullptr, s.outputs, s.taps, s.run, width, s.format, memory.data);
  Result r{std::vector<float>(p.out_size(), kGuard), std::vector<float>(p.out_size(), kGuard),
           std::vector<std::uint16_t>(p.out_size(), kGuardHalf)};
  const int frames = split.frames ? split.frames : s.frames, panels = split.panels ? split.panels : w.panels;
  const int streams = split.each_stream ? 1 : s.streams;
  const int value_bytes = s.format == bf16_dot ? 2 : 4;
  const char* x =
      s.format == bf16_dot ? reinterpret_cast<const char*>(p.x_half.data()) : reinterpret_cast<const char*>(p.x.data());
  for (int b = 0; b < s.streams; b += streams)
    for (int t = 0; t < s.frames; t += frames)
      for (int panel = 0; panel < w.panels; panel += panels) {
        const std::ptrdiff_t out = b * p.out_stream() + t * p.out_stride();
        Conv c{};
        c.weights = &w;
        c.x = {x + ((std::ptrdiff_t(b) * p.rows + t) * s.run) * value_bytes, s.run, std::ptrdiff_t(p.rows) * s.run,
               std::ptrdiff_t(s.dilation) * s.run};
        c.frames = std::min(frames, s.frames - t);
        c.streams = streams;
        c.first_panel = panel;
        c.last_panel = std::min(panel + panels, w.panels);
        if (s.add)
          c.add = {p.add.data() + (std::ptrdiff_t(b) * s.frames + t) * s.outputs, s.outputs,
                   std::ptrdiff_t(s.frames) * s.outputs};
        if (s.raw) c.raw = {r.raw.data() + out, p.out_stride(), p.out_stream()};
        void* act = s.act_bf16 ? static_cast<void*>(r.act_half.data() + out) : r.act.data() + out;
        if (s.act) c.act = {act, p.out_stride(), p.out_stream()};
        c.act_bf16 = s.act_bf16;
        c.slope = 0.2f;
        table.conv(c);
      }
  return r;
}

// Where a result may be written, and the sums of one output by some order of accumulation.
template <class Visit>
void each_output(const Problem& p, Visit visit) {
  for (int b = 0; b < p.s.streams; ++b)
    for (int t = 0; t < p.s.frames; ++t)
      for (int o = 0; o < p.s.outputs; ++o) visit(b, t, o, std::size_t(b * p.out_stream() + t * p.out_stride() + o));
}

bool guards_hold(const Problem& p, const Result& r) {
  std::vector<char> inside(p.out_size());
  each_output(p, [&](int, int, int, std::size_t at) { inside[at] = 1; });
  bool hold = true;
  for (std::size_t i = 0; i < inside.size(); ++i) {
    hold &= (inside[i] && p.s.raw) == (r.raw[i] != kGuard);
    hold &= (inside[i] && p.s.act && !p.s.act_bf16) == (r.act[i] != kGuard);
    hold &= (inside[i] && p.s.act && p.s.act_bf16) == (r.act_half[i] != kGuardHalf);
  }
  return hold;
}

// The largest distance from the oracle over the size of the sum's terms; bfloat16 results in their own last place.
double distance(const Problem& p, const Result& r, const Result& oracle) {
  const double terms = std::sqrt(double(p.s.taps) * p.s.run) + 2;
  double worst = 0;
  each_output(p, [&](int, int, int, std::size_t at) {
    worst = std::max(worst, std::abs(double(r.raw[at]) - oracle.raw[at]) / terms);
    worst = std::max(worst, std::abs(double(r.act[at]) - oracle.act[at]) / terms);
    const double a = from_bf16(r.act_half[at]), b = from_bf16(oracle.act_half[at]);
    if (p.s.act_bf16) worst = std::max(worst, std::max(0.0, std::abs(a - b) - 0.0079 * std::abs(b)) / terms);
  });
  return worst;
}

std::vector<Isa> vector_isas() {
  std::vector<Isa> isas = ravel::supported_isas();
  isas.erase(isas.begin());
  return isas;
}

std::vector<Format> formats(Isa isa) {
  return isa == Isa::avx512_bf16 ? std::vector<Format>{f32, bf16, bf16_dot} : std::vector<Format>{f32, bf16};
}

Shape random_shape(Random& random, Format format) {
  Shape s;
  s.outputs = random.pick({1, 3, 16, 32, 80, 96, 100, 130});
  s.taps = random.pick({1, 2, 3, 7});
  s.run = format == bf16_dot ? random.pick({2, 16, 30, 96}) : random.pick({1, 2, 5, 16, 31, 96});
  s.format = format;
  s.frames = random.pick({1, 2, 3, 5, 8, 13, 29});
  s.streams = random.pick({1, 1, 2, 3});
  s.dilation = random.pick({1, 1, 2, 9});
  s.bias = random.pick({0, 1}), s.add = random.pick({0, 1});
  const int outputs = random.pick({1, 2, 3});
  s.raw = outputs & 1, s.act = outputs & 2, s.act_bf16 = s.act && random.pick({0, 1});
  return s;
}

constexpr int kVectorChoices[] = {1, 2, 3, 4, 6, 8};

}  // namespace

TEST_CASE("kernels: instruction sets") {
  const auto& isas = ravel::supported_isas();
  REQUIRE(!isas.empty());
  CHECK(isas.front() == Isa::reference);
  CHECK(std::is_sorted(isas.begin(), isas.end()));
  CHECK(ravel::best_isa() == isas.back());
  for (const Isa isa : isas) {
    CHECK(ravel::isa_from_name(name(isa)) == isa);
    CHECK(table(isa).isa == isa);
  }
  CHECK_THROWS_AS(ravel::isa_from_name("vliw"), ravel::Error);
#if defined(__x86_64__)
  const auto found = [&](Isa isa) { return std::find(isas.begin(), isas.end(), isa) != isas.end(); };
  CHECK(found(Isa::sse4) == bool(__builtin_cpu_supports("sse4.2")));
  CHECK(found(Isa::avx2) == (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")));
  CHECK(found(Isa::avx512) == (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")));
  CHECK(!found(Isa::neon));
  CHECK_THROWS_AS(table(Isa::neon), ravel::Error);
#endif
}

TEST_CASE("kernels: packing refuses what the dot product cannot read") {
  const std::vector<float> weight(6, 1.0f);
  Memory memory(packed_bytes(2, 1, 3, 16, bf16_dot, false));
  CHECK_THROWS_AS(pack(weight.data(), nullptr, 2, 1, 3, 16, bf16_dot, memory.data), ravel::Error);
}

TEST_CASE("kernels: a convolution is the oracle's, inside its columns") {
  for (const Isa isa : vector_isas())
    for (const Format format : formats(isa)) {
      Random random{std::uint32_t(format) + 7};
      for (int i = 0; i < 120; ++i) {
        const Shape s = random_shape(random, format);
        const Problem p(s, i);
        const Table& t = table(isa);
        const Result r = run(t, p, t.panel_width(s.outputs, format, s.frames));
        CAPTURE(name(isa));
        CAPTURE(text(s));
        REQUIRE(distance(p, r, run(table(Isa::reference), p, 8)) < 2e-6);
        REQUIRE(guards_hold(p, r));
      }
    }
}

TEST_CASE("kernels: the same bits for any split into calls, panels and streams") {
  for (const Isa isa : vector_isas())
    for (const Format format : formats(isa)) {
      Random random{std::uint32_t(format) + 70};
      const Table& t = table(isa);
      for (int i = 0; i < 40; ++i) {
        Shape s = random_shape(random, format);
        s.raw = s.act = true;
        const Problem p(s, i);
        const Result whole = run(t, p, t.panel_width(s.outputs, format, s.frames));
        CAPTURE(name(isa));
        CAPTURE(text(s));
        for (const int vectors : kVectorChoices)
          REQUIRE(run(t, p, vectors * t.lanes,
                      {random.pick({1, 2, 3, 5, 8}), random.pick({0, 1, 2}), random.pick({0, 1}) != 0}) == whole);
      }
    }
}

TEST_CASE("kernels: the same bits when a large panel is walked in chunks") {
  for (const Isa isa : vector_isas())
    for (const Format format : formats(isa)) {
      const Table& t = table(isa);
      for (const int taps : {1, 2}) {
        Shape s{.outputs = 8 * t.lanes, .taps = taps, .run = 9000 / t.lanes + 2, .format = format, .frames = 27};
        s.run = s.run * (format == f32 ? 1 : 2) & ~1;
        s.dilation = 2;
        const Problem p(s);
        const Result whole = run(t, p, 8 * t.lanes);
        CAPTURE(name(isa));
        CHECK(whole == run(t, p, 8 * t.lanes, {1, 0, false}));
        CHECK(whole == run(t, p, 2 * t.lanes));
      }
    }
}

// What the laws above hold against: the sums of one output in a given order, rounded as the instruction set rounds.
namespace {

template <class Step>
bool is_chain(const Problem& p, const Result& r, bool channels_first, Step step) {
  bool same = true;
  each_output(p, [&](int b, int t, int o, std::size_t at) {
    float sum = 0;
    const int outer = channels_first ? p.s.run : p.s.taps, inner = channels_first ? p.s.taps : p.s.run;
    for (int i = 0; i < outer; ++i)
      for (int j = 0; j < inner; ++j) {
        const int tap = channels_first ? j : i, channel = channels_first ? i : j;
        const std::size_t row = std::size_t(b) * p.rows + t + tap * p.s.dilation;
        sum = step(p.weight[(std::size_t(o) * p.s.taps + tap) * p.s.run + channel], p.x[row * p.s.run + channel], sum);
      }
    sum += p.bias[o];
    sum += p.add[(std::size_t(b) * p.s.frames + t) * p.s.outputs + o];
    same &= std::bit_cast<std::uint32_t>(sum) == std::bit_cast<std::uint32_t>(r.raw[at]);
  });
  return same;
}

float fused(float a, float b, float sum) { return std::fma(a, b, sum); }
float rounded_twice(float a, float b, float sum) {
  volatile float product = a * b;  // never contracted
  return product + sum;
}

}  // namespace

TEST_CASE("kernels: one chain per output, tap by tap and channel by channel; another order is told apart") {
  for (const Isa isa : vector_isas())
    for (const Format format : {f32, bf16}) {
      const Problem p(Shape{.outputs = 50, .taps = 3, .run = 33, .format = format, .frames = 5, .streams = 2});
      const Table& t = table(isa);
      const Result r = run(t, p, t.panel_width(p.s.outputs, format, p.s.frames));
      const auto step = isa == Isa::sse4 ? rounded_twice : fused;
      CAPTURE(name(isa));
      CHECK(is_chain(p, r, false, step));
      CHECK_FALSE(is_chain(p, r, true, step));
    }
}

TEST_CASE("kernels: the comparisons can fail") {
  const Problem p(Shape{});
  const Result oracle = run(table(Isa::reference), p, 8);
  Result r = oracle;
  CHECK(guards_hold(p, r));
  r.raw[p.s.outputs] = 0;  // one past the columns
  CHECK_FALSE(guards_hold(p, r));
  r = oracle;
  r.raw[0] += 1e-4f;
  CHECK(distance(p, r, oracle) > 2e-6);
  CHECK_FALSE(r == oracle);
}

namespace {

// Maps over values from -range to range at every alignment, against the oracle; the same bits at every alignment.
template <class Call>
void check_map(Call call, float range, double tolerance, double relative = 0) {
  constexpr int kCount = 4001;
  std::vector<float> x(kCount + kSlackFloats), expected(x.size());
  for (int i = 0; i < kCount; ++i) x[i] = range * (float(i) / 2000.0f - 1.0f);
  call(table(Isa::reference), x.data(), expected.data(), kCount);
  for (const Isa isa : vector_isas()) {
    CAPTURE(name(isa));
    std::vector<float> first(x.size());
    call(table(isa), x.data(), first.data(), kCount);
    double worst = 0;
    for (int i = 0; i < kCount; ++i)
      worst = std::max(worst, std::abs(double(first[i]) - expected[i]) - relative * std::abs(expected[i]));
    CHECK(worst <= tolerance);
    bool same = true;
    for (int shift = 1; shift < 20; ++shift) {
      std::vector<float> y(x.begin() + shift, x.end());
      y.resize(x.size());
      call(table(isa), y.data(), y.data(), kCount - shift);  // in place
      same &= std::memcmp(y.data(), first.data() + shift, sizeof(float) * (kCount - shift)) == 0;
    }
    CHECK(same);
  }
}

}  // namespace

TEST_CASE("kernels: maps are the oracle's, wherever a value lies") {
  for (const float range : {1e-3f, 1.0f, 12.0f, 300.0f}) {
    CAPTURE(range);
    check_map([](const Table& t, const float* x, float* y, std::size_t n) { t.tanh(x, y, n); }, range, 5e-7);
    check_map([](const Table& t, const float* x, float* y, std::size_t n) { t.amplitude(x, -5.0f, y, n); }, range,
              1e-6);
    check_map([](const Table& t, const float* x, float* y, std::size_t n) { t.leaky(x, 0.2f, y, n); }, range, 0);
    check_map([](const Table& t, const float* x, float* y, std::size_t n) { t.add(x, x, y, n); }, range, 0);
    check_map([](const Table& t, const float* x, float* y, std::size_t n) { t.multiply(x, x, y, n); }, range, 0);
  }
  for (const float alpha : {0.01f, 1.0f, 30.0f})
    for (const float range : {1.0f, 10.0f, 330.0f}) {
      CAPTURE(alpha);
      CAPTURE(range);
      // within 2e-6 of the wave's size 1 / alpha, plus the last place of x
      check_map([alpha](const Table& t, const float* x, float* y, std::size_t n) { t.snake(x, &alpha, y, n, 1); },
                range, 2e-6 * std::max(1.0f, 1 / alpha), 1.2e-7);
    }
}

TEST_CASE("kernels: rows of a gate and of snake end where they end") {
  for (const Isa isa : vector_isas())
    for (const int channels : {1, 3, 16, 17, 40}) {
      constexpr int kRows = 5;
      Random random;
      std::vector<float> x(2 * kRows * channels), alpha(channels), y(kRows * channels + 1, kGuard), expected = y;
      for (float& v : x) v = 20 * random.value();
      for (float& v : alpha) v = 1 + 0.5f * random.value();
      CAPTURE(name(isa));
      CAPTURE(channels);
      const auto worst = [&] {
        double most = 0;
        for (std::size_t i = 0; i < y.size(); ++i) most = std::max(most, std::abs(double(y[i]) - expected[i]));
        return most;
      };
      table(isa).gate(x.data(), y.data(), kRows, channels);
      table(Isa::reference).gate(x.data(), expected.data(), kRows, channels);
      CHECK(worst() < 2e-6 * 20);
      CHECK(y.back() == kGuard);
      table(isa).gated_tanh(x.data(), y.data(), kRows, channels);
      table(Isa::reference).gated_tanh(x.data(), expected.data(), kRows, channels);
      CHECK(worst() < 2e-6);
      CHECK(y.back() == kGuard);
      table(isa).snake(x.data(), alpha.data(), y.data(), kRows, channels);
      table(Isa::reference).snake(x.data(), alpha.data(), expected.data(), kRows, channels);
      CHECK(worst() < 4e-6);
      CHECK(y.back() == kGuard);
    }
}

TEST_CASE("kernels: a draw is the oracle's, to rounding at the edge of a share") {
  Random random;
  for (const Isa isa : vector_isas())
    for (const int n : {1, 2, 5, 17, 63, 64, 65, 128, 1000}) {
      std::vector<float> x(n), scratch(n + kDrawSlackFloats);
      CAPTURE(name(isa));
      CAPTURE(n);
      const auto draw = [&](Isa with, float temperature, float share) {
        return table(with).draw(x.data(), n, temperature, share, scratch.data());
      };
      std::vector<int> seen(n, 0);
      for (int i = 0; i < 200; ++i) {
        for (float& v : x) v = 4 * random.value();
        for (const float temperature : {1e-6f, 0.5f, 1.0f, 10.0f}) {
          const float edges[] = {0.0f, 0.5f * (random.value() + 1), 1 - 0x1p-24f};
          for (const float share : edges) {
            const int got = draw(isa, temperature, share);
            CHECK(got >= draw(Isa::reference, temperature, share - 2e-6f));
            CHECK(got <= draw(Isa::reference, temperature, share + 2e-6f));
            ++seen[got];
          }
        }
        CHECK(draw(isa, 0, 0.9f) == std::max_element(x.begin(), x.end()) - x.begin());
      }
      CHECK(std::count(seen.begin(), seen.end(), 0) <= n / 2);
      // two are the largest: the first; a single one left: that; no number: some
      std::fill(x.begin(), x.end(), 1.0f);
      CHECK(draw(isa, 0, 0.9f) == 0);
      std::fill(x.begin(), x.end(), -std::numeric_limits<float>::infinity());
      x[n / 2] = 3;
      for (const float share : {0.0f, 0.3f, 0.999f}) CHECK(draw(isa, 1, share) == n / 2);
      x[0] = std::numeric_limits<float>::quiet_NaN();
      for (const float temperature : {0.0f, 1.0f}) {
        CHECK(draw(isa, temperature, 0.5f) >= 0);
        CHECK(draw(isa, temperature, 0.5f) < n);
      }
    }
}

TEST_CASE("kernels: rounding to bfloat16 is to nearest even") {
  const float ties[] = {1.0f + 0x1p-8f,
                        1.0f + 0x3p-8f,
                        -1.0f - 0x1p-8f,
                        0.0f,
                        -0.0f,
                        3e38f,
                        std::numeric_limits<float>::infinity(),
                        0.1f};
  const std::uint16_t expected[] = {0x3F80, 0x3F82, 0xBF80, 0, 0x8000, 0x7F62, 0x7F80, 0x3DCD};
  for (int i = 0; i < 8; ++i) CHECK(to_bf16(ties[i]) == expected[i]);
  std::vector<float> x(1000 + kSlackFloats);
  Random random;
  for (float& v : x) v = 3 * random.value();
  std::copy(std::begin(ties), std::end(ties), x.begin());
  std::vector<std::uint16_t> oracle(x.size()), y(x.size());
  table(Isa::reference).to_bf16(x.data(), 0.2f, oracle.data(), 1000);
  for (const Isa isa : vector_isas()) {
    table(isa).to_bf16(x.data(), 0.2f, y.data(), 1000);
    CHECK(std::equal(y.begin(), y.begin() + 1000, oracle.begin()));
  }
}

TEST_CASE("kernels: noise is the integers of python/model/noise.py") {
  // noise.uniform(noise.hashed(...)): mix(key ^ frame) for keys 0, 1, 0xDEADBEEF and frame 0x12345678
  const std::uint32_t keys[] = {0, 1, 0xDEADBEEF};
  const float golden[] = {0x1.8df3440000000p-1f, -0x1.345d480000000p-2f, 0x1.b6c8b40000000p-1f};
  for (const Isa isa : ravel::supported_isas()) {
    CAPTURE(name(isa));
    float y[3];
    table(isa).noise_row(keys, 0x12345678, y, 3);
    for (int c = 0; c < 3; ++c) CHECK(y[c] == golden[c]);
    for (const int channels : {1, 5, 16, 33}) {
      std::vector<std::uint32_t> many(channels);
      for (int c = 0; c < channels; ++c) many[c] = c * 0x9E3779B9u;
      std::vector<float> row(channels + 1, kGuard), oracle = row;
      table(isa).noise_row(many.data(), 77, row.data(), channels);
      table(Isa::reference).noise_row(many.data(), 77, oracle.data(), channels);
      CHECK(row == oracle);
    }
  }
}

TEST_CASE("kernels: filtered noise is the oracle's, the same bits row by row") {
  for (const Isa isa : vector_isas())
    for (const int bands : {1, 5, 16, 37}) {
      constexpr int kNoiseBands = 36, kTaps = 2 * (kNoiseBands - 1), kRows = 7;
      Random random;
      std::vector<float> magnitudes(bands * kNoiseBands), response(kNoiseBands * kTaps),
          noise((kRows + kTaps - 1) * bands);
      for (auto* values : {&magnitudes, &response, &noise})
        for (float& v : *values) v = random.value();
      std::vector<float> filters(kTaps * bands + 1, kGuard), y(kRows * bands + 1, kGuard), filters_0 = filters, y_0 = y;
      table(isa).noise_filters(magnitudes.data(), response.data(), bands, kNoiseBands, kTaps, filters.data());
      table(Isa::reference)
          .noise_filters(magnitudes.data(), response.data(), bands, kNoiseBands, kTaps, filters_0.data());
      table(isa).noise_fir(noise.data(), filters.data(), bands, kTaps, kRows, y.data());
      table(Isa::reference).noise_fir(noise.data(), filters_0.data(), bands, kTaps, kRows, y_0.data());
      CAPTURE(name(isa));
      CAPTURE(bands);
      for (std::size_t i = 0; i < filters.size(); ++i) CHECK(filters[i] == doctest::Approx(filters_0[i]).epsilon(1e-5));
      for (std::size_t i = 0; i < y.size(); ++i) CHECK(std::abs(y[i] - y_0[i]) < 1e-5);
      std::vector<float> row_by_row = y;
      for (int t = 0; t < kRows; ++t)
        table(isa).noise_fir(noise.data() + t * bands, filters.data(), bands, kTaps, 1, row_by_row.data() + t * bands);
      CHECK(row_by_row == y);
    }
}

TEST_CASE("kernels: denormals are flushed until they are given back") {
  for (const Isa isa : ravel::supported_isas()) {
    volatile float small = 1e-38f;
    const std::uint64_t control = table(isa).flush_denormals();
    const float flushed = small * 0.1f;
    table(isa).restore_denormals(control);
    const float kept = small * 0.1f;
    CHECK(flushed == 0.0f);
    CHECK(kept > 0.0f);
  }
}
