// The kernels, written once over Highway's vectors; each kernels_<isa>.cpp compiles them for its own processor.
//
// The including unit defines before it
//   kIsa       what its table says
//   kTileRows  most rows of a tile, by format (float, bfloat16 weights) and panel: their sums have to fit the registers
//   kShares    speed in percent, by format, rows of a call (1, 2, 4 and more) and panel
// Everything is in unnamed namespaces: an inline function that left this unit could be picked by the linker for code
// that must run on older processors (check_symbols.cmake).

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

namespace ravel::kernels {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Words = hn::RebindToUnsigned<Floats>;
using V = hn::Vec<Floats>;
constexpr Floats kF;
constexpr Words kW;
constexpr int kLanes = int(hn::MaxLanes(kF));
static_assert(kLanes <= kSlackFloats);

// ---- partial vectors: exact reads and writes, the same arithmetic as whole ones

V load_some(const float* from, int count) noexcept {
  alignas(64) float lanes[kLanes] = {};
  for (int i = 0; i < count; ++i) lanes[i] = from[i];
  return hn::Load(kF, lanes);
}

template <class T, class D, class Vec>
void store_some(D d, Vec v, T* to, int count) noexcept {
  alignas(64) T lanes[kLanes];
  hn::Store(v, d, lanes);
  for (int i = 0; i < count; ++i) to[i] = lanes[i];
}

// ---- convolution

constexpr int kChoices = 6, kVectorChoices[kChoices] = {1, 2, 3, 4, 6, 8};  // vectors of a panel
constexpr int kMaxVectors = 8, kMaxRows = 8;
// Rows that share one pass over a panel which has to come from beyond the second-level cache.
constexpr int kGroupRows = 24;
constexpr std::ptrdiff_t kChunkBytes = 256 << 10;

// Weights are read in order, once, and left to the hardware's prefetcher: prefetching 1 to 4 KB ahead never gained
// anything on Zen 4, and cost a quarter where the second-level cache holds the weights.

// A stretch of one panel's reduction, added to sums in memory.
struct Stretch {
  const void* weights;
  std::ptrdiff_t at;  // into a row, elements
  int taps, run;
  std::ptrdiff_t tap_stride;
};

HWY_INLINE V low_half(hn::Vec<Words> pair) noexcept { return hn::BitCast(kF, hn::ShiftLeft<16>(pair)); }

HWY_INLINE V high_half(hn::Vec<Words> pair) noexcept {
  return hn::BitCast(kF, hn::And(pair, hn::Set(kW, 0xFFFF0000u)));
}

// Keeps a sum in its register: GCC 12 otherwise lets the product overwrite an input, moves the sums around and spills
// them (AVX2, 3 rows of 4 vectors: 50 GFLOP/s instead of 110).
HWY_INLINE V pinned(V sum) noexcept {
#if HWY_ARCH_X86 && !defined(_MSC_VER)
  asm("" : "+v"(sum.raw));
#elif HWY_ARCH_ARM && !defined(_MSC_VER)
  asm("" : "+w"(sum.raw));
#endif
  return sum;
}

// Each sum is one chain of multiply-adds in the order of the weights, whatever the shape of the tile around it.
template <int kVectors, int kRows>
struct Sums {
  V sum[kRows][kVectors];

  HWY_INLINE void load(const float* from) noexcept {
    for (int n = 0; n < kRows; ++n)
      for (int v = 0; v < kVectors; ++v) sum[n][v] = hn::Load(kF, from + (n * kVectors + v) * kLanes);
  }

  // The smaller side of the tile stays in registers, the larger one passes by: the compiler orders loads as they are
  // written, and has no register to spare.
  template <class Weight>
  HWY_INLINE void add(const float* const* x, std::ptrdiff_t i, Weight weight) noexcept {
    if constexpr (kRows < kVectors) {
      V value[kRows];
      for (int n = 0; n < kRows; ++n) value[n] = hn::Set(kF, x[n][i]);
      for (int v = 0; v < kVectors; ++v) {
        const V w = weight(v);
        for (int n = 0; n < kRows; ++n) sum[n][v] = pinned(hn::MulAdd(w, value[n], sum[n][v]));
      }
    } else {
      V w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = weight(v);
      for (int n = 0; n < kRows; ++n) {
        const V value = hn::Set(kF, x[n][i]);
        for (int v = 0; v < kVectors; ++v) sum[n][v] = pinned(hn::MulAdd(w[v], value, sum[n][v]));
      }
    }
  }

  HWY_INLINE void store(float* to) const noexcept {
    for (int n = 0; n < kRows; ++n)
      for (int v = 0; v < kVectors; ++v) hn::Store(sum[n][v], kF, to + (n * kVectors + v) * kLanes);
  }
};

using Tile = void (*)(const Stretch& stretch, const void* const* rows, float* sums) noexcept;

struct FloatTile {
  static constexpr Format kFormat = f32;
  template <int kVectors, int kRows>
  static void run(const Stretch& s, const void* const* rows, float* sums) noexcept {
    Sums<kVectors, kRows> t;
    t.load(sums);
    const float* w = static_cast<const float*>(s.weights);
    for (int tap = 0; tap < s.taps; ++tap) {
      const float* x[kRows];
      for (int n = 0; n < kRows; ++n) x[n] = static_cast<const float*>(rows[n]) + s.at + tap * s.tap_stride;
      for (std::ptrdiff_t i = 0; i < s.run; ++i) {
        t.add(x, i, [w](int v) { return hn::Load(kF, w + v * kLanes); });
        w += kVectors * kLanes;
      }
    }
    t.store(sums);
  }
};

// Two readings of a pair of weights, apart: kept between them, the pairs would push sums out of registers.
HWY_INLINE const std::uint32_t* read_again(const std::uint32_t* w) noexcept {
#if !defined(_MSC_VER)
  asm("" : "+r"(w));
#endif
  return w;
}

struct WidenedTile {
  static constexpr Format kFormat = bf16;
  template <int kVectors, int kRows>
  static void run(const Stretch& s, const void* const* rows, float* sums) noexcept {
    Sums<kVectors, kRows> t;
    t.load(sums);
    const std::uint32_t* w = static_cast<const std::uint32_t*>(s.weights);
    for (int tap = 0; tap < s.taps; ++tap) {
      const float* x[kRows];
      for (int n = 0; n < kRows; ++n) x[n] = static_cast<const float*>(rows[n]) + s.at + tap * s.tap_stride;
      std::ptrdiff_t i = 0;
      for (; i + 1 < s.run; i += 2) {
        t.add(x, i, [w](int v) { return low_half(hn::Load(kW, w + v * kLanes)); });
        t.add(x, i + 1, [w = read_again(w)](int v) { return high_half(hn::Load(kW, w + v * kLanes)); });
        w += kVectors * kLanes;
      }
      if (i < s.run) {  // an odd run: the last pair has one weight
        t.add(x, i, [w](int v) { return low_half(hn::Load(kW, w + v * kLanes)); });
        w += kVectors * kLanes;
      }
    }
    t.store(sums);
  }
};

struct Tiles {
  Tile of[kChoices][kMaxRows + 1];
};

constexpr int most_rows(Format format, int choice) noexcept { return kTileRows[format == f32 ? 0 : 1][choice]; }

template <class Kind, int kChoice = 0, int kRows = 1>
constexpr void fill(Tiles& tiles) noexcept {
  tiles.of[kChoice][kRows] = Kind::template run<kVectorChoices[kChoice], kRows>;
  if constexpr (kRows < most_rows(Kind::kFormat, kChoice)) {
    fill<Kind, kChoice, kRows + 1>(tiles);
  } else if constexpr (kChoice + 1 < kChoices) {
    fill<Kind, kChoice + 1>(tiles);
  }
}

template <class Kind>
constexpr Tiles tiles_of() noexcept {
  Tiles tiles{};
  fill<Kind>(tiles);
  return tiles;
}
constexpr Tiles kFloatTiles = tiles_of<FloatTile>(), kWidenedTiles = tiles_of<WidenedTile>();

// The panels that take least time, the columns that pad the last one counted.
int panel_width(int outputs, Format format, int rows) noexcept {
  const int* shares = kShares[format == f32 ? 0 : 1][rows < 2 ? 0 : rows < 4 ? 1 : 2];
  int best = kLanes;
  float least = 0;
  for (int i = 0; i < kChoices; ++i) {
    const int width = kVectorChoices[i] * kLanes, columns = (outputs + width - 1) / width * width;
    const float cost = float(columns) / float(shares[i]);
    if (i == 0 || cost < least) best = width, least = cost;
  }
  return best;
}

// Walks the rows of a call in order: n = stream * frames + t.
struct RowCounter {
  int frames, stream = 0, t = 0;
  void step() noexcept {
    if (++t == frames) t = 0, ++stream;
  }
  template <class Rows>
  std::ptrdiff_t offset(const Rows& rows) const noexcept {
    return stream * rows.stream_stride + t * rows.row_stride;
  }
};

HWY_INLINE V leaky_of(V y, V slope) noexcept { return hn::IfThenElse(hn::Lt(y, hn::Zero(kF)), hn::Mul(slope, y), y); }

constexpr hn::Rebind<std::uint16_t, Floats> kHalves;

HWY_INLINE hn::Vec<decltype(kHalves)> rounded(V y) noexcept {
  const auto bits = hn::BitCast(kW, y);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(kW, 1u));
  const auto up = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(kW, 0x7FFFu))));
  return hn::DemoteTo(kHalves, hn::BitCast(hn::RebindToSigned<Words>(), up));
}

void finish_row(const Conv& c, const RowCounter& row, int first, const float* sums) noexcept {
  const Weights& w = *c.weights;
  const V slope = hn::Set(kF, c.slope);
  const int last = first + w.width < w.outputs ? first + w.width : w.outputs;
  for (int o = first; o < last; o += kLanes, sums += kLanes) {
    const int count = last - o < kLanes ? last - o : kLanes;
    const bool whole = count == kLanes;
    V y = hn::Load(kF, sums);
    if (w.bias) y = hn::Add(y, hn::LoadU(kF, w.bias + o));
    if (c.add.first) {
      const float* from = c.add.first + row.offset(c.add) + o;
      y = hn::Add(y, whole ? hn::LoadU(kF, from) : load_some(from, count));
    }
    if (c.raw.first) {
      float* to = static_cast<float*>(c.raw.first) + row.offset(c.raw) + o;
      whole ? hn::StoreU(y, kF, to) : store_some(kF, y, to, count);
    }
    if (!c.act.first) continue;
    y = leaky_of(y, slope);
    if (c.act_bf16) {
      std::uint16_t* to = static_cast<std::uint16_t*>(c.act.first) + row.offset(c.act) + o;
      whole ? hn::StoreU(rounded(y), kHalves, to) : store_some(kHalves, rounded(y), to, count);
    } else {
      float* to = static_cast<float*>(c.act.first) + row.offset(c.act) + o;
      whole ? hn::StoreU(y, kF, to) : store_some(kF, y, to, count);
    }
  }
}

struct Plan {
  const Tile* tiles;  // by rows
  int vectors, tile_rows;
  int taps, run;                                       // runs that touch are one
  std::ptrdiff_t tap_stride, step_bytes, panel_bytes;  // a step: what one position in a run multiplies
};

Plan plan_of(const Tiles& tiles, const Conv& c) noexcept {
  const Weights& w = *c.weights;
  int choice = 0;
  while (kVectorChoices[choice] * kLanes < w.width) ++choice;
  const int pair = w.format == f32 ? 1 : 2;
  const int run = (w.run + pair - 1) / pair * pair;  // with what pads it
  const std::ptrdiff_t step_bytes = std::ptrdiff_t(w.width) * (w.format == f32 ? sizeof(float) : sizeof(std::uint16_t));
  const bool touch = w.run == run && c.x.tap_stride == run;
  return {.tiles = tiles.of[choice],
          .vectors = kVectorChoices[choice],
          .tile_rows = most_rows(w.format, choice),
          .taps = touch ? 1 : w.taps,
          .run = touch ? w.taps * run : w.run,
          .tap_stride = c.x.tap_stride,
          .step_bytes = step_bytes,
          .panel_bytes = w.taps * run * step_bytes};
}

// Rows of a group, spread evenly over as few tiles as the registers allow.
void run_tiles(const Plan& p, const Stretch& s, const void* const* rows, int count, float* sums) noexcept {
  const int tiles = (count + p.tile_rows - 1) / p.tile_rows;
  for (int i = 0, n = 0; i < tiles; ++i) {
    const int next = (i + 1) * count / tiles;
    p.tiles[next - n](s, rows + n, sums + n * p.vectors * kLanes);
    n = next;
  }
}

// The whole reduction of some rows over one panel. A panel too large for the second-level cache is walked in chunks,
// so that it is read once for all rows; the sums wait in memory, their order is the same.
void reduce(const Plan& p, const std::byte* panel, const void* const* rows, int count, float* sums) noexcept {
  for (int i = 0; i < count * p.vectors; ++i) hn::Store(hn::Zero(kF), kF, sums + i * kLanes);
  if (count <= p.tile_rows || p.panel_bytes <= kChunkBytes) {
    run_tiles(p, {panel, 0, p.taps, p.run, p.tap_stride}, rows, count, sums);
    return;
  }
  const int chunk = int(kChunkBytes / p.step_bytes) & ~1;
  for (int tap = 0; tap < p.taps; ++tap)
    for (int i = 0; i < p.run; i += chunk) {
      const int run = p.run - i < chunk ? p.run - i : chunk;
      const std::byte* weights = panel + tap * (p.panel_bytes / p.taps) + i * p.step_bytes;
      run_tiles(p, {weights, tap * p.tap_stride + i, 1, run, 0}, rows, count, sums);
    }
}

void conv_with(const Tiles& tiles, const Conv& c) noexcept {
  const Weights& w = *c.weights;
  const Plan p = plan_of(tiles, c);
  const int value_bytes = w.format == bf16_dot ? sizeof(std::uint16_t) : sizeof(float), all = c.frames * c.streams;
  alignas(64) float sums[kGroupRows * kMaxVectors * kLanes];
  for (int panel = c.first_panel; panel < c.last_panel; ++panel) {
    const std::byte* weights = static_cast<const std::byte*>(w.data) + panel * p.panel_bytes;
    RowCounter in{c.frames}, out{c.frames};
    for (int n = 0; n < all; n += kGroupRows) {
      const int count = all - n < kGroupRows ? all - n : kGroupRows;
      const void* rows[kGroupRows];
      for (int i = 0; i < count; ++i, in.step())
        rows[i] = static_cast<const std::byte*>(c.x.first) + in.offset(c.x) * value_bytes;
      reduce(p, weights, rows, count, sums);
      for (int i = 0; i < count; ++i, out.step()) finish_row(c, out, panel * w.width, sums + i * w.width);
    }
  }
}

void conv(const Conv& c) noexcept { conv_with(c.weights->format == f32 ? kFloatTiles : kWidenedTiles, c); }

// ---- maps

// The last vector of a map is whole: buffers have room (kSlackFloats), and every value meets the same instructions.
template <class Function>
HWY_INLINE void map(const float* x, float* y, std::size_t n, Function function) noexcept {
  for (std::size_t i = 0; i < n; i += kLanes) hn::StoreU(function(hn::LoadU(kF, x + i)), kF, y + i);
}

void leaky(const float* x, float slope, float* y, std::size_t n) noexcept {
  const V s = hn::Set(kF, slope);
  map(x, y, n, [s](V v) { return leaky_of(v, s); });
}

void to_bf16(const float* x, float slope, std::uint16_t* y, std::size_t n) noexcept {
  const V s = hn::Set(kF, slope);
  for (std::size_t i = 0; i < n; i += kLanes) hn::StoreU(rounded(leaky_of(hn::LoadU(kF, x + i), s)), kHalves, y + i);
}

void tanh(const float* x, float* y, std::size_t n) noexcept {
  map(x, y, n, [](V v) { return hn::Tanh(kF, v); });
}

// sigmoid(u)^p = exp(-p softplus(-u)), and softplus(-u) = max(-u, 0) + log1p(exp(-|u|)) never overflows.
HWY_INLINE V sigmoid_power(V u, float power) noexcept {
  const V softplus = hn::Add(hn::Max(hn::Neg(u), hn::Zero(kF)), hn::Log1p(kF, hn::Exp(kF, hn::Neg(hn::Abs(u)))));
  return hn::Exp(kF, hn::Mul(hn::Set(kF, -power), softplus));
}

void amplitude(const float* x, float offset, float* y, std::size_t n) noexcept {
  const V o = hn::Set(kF, offset), two = hn::Set(kF, 2.0f), floor = hn::Set(kF, 1e-7f);
  map(x, y, n, [=](V v) { return hn::MulAdd(two, sigmoid_power(hn::Add(v, o), 2.3f), floor); });
}

void add(const float* a, const float* b, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; i += kLanes)
    hn::StoreU(hn::Add(hn::LoadU(kF, a + i), hn::LoadU(kF, b + i)), kF, y + i);
}

void multiply(const float* a, const float* b, float* y, std::size_t n) noexcept {
  for (std::size_t i = 0; i < n; i += kLanes)
    hn::StoreU(hn::Mul(hn::LoadU(kF, a + i), hn::LoadU(kF, b + i)), kF, y + i);
}

// y[r][c] = function(x[r][c], parameters[r][c]): rows end where they end, the next may be another's.
template <class Function>
HWY_INLINE void map_rows(const float* x, std::ptrdiff_t x_stride, const float* parameters,
                         std::ptrdiff_t parameter_stride, float* y, std::size_t rows, int channels,
                         Function function) noexcept {
  for (std::size_t r = 0; r < rows; ++r, x += x_stride, parameters += parameter_stride, y += channels) {
    int c = 0;
    for (; c + kLanes <= channels; c += kLanes)
      hn::StoreU(function(hn::LoadU(kF, x + c), hn::LoadU(kF, parameters + c)), kF, y + c);
    if (const int rest = channels - c; rest > 0)
      store_some(kF, function(load_some(x + c, rest), load_some(parameters + c, rest)), y + c, rest);
  }
}

void gate(const float* x, float* y, std::size_t rows, int channels) noexcept {
  const V one = hn::Set(kF, 1.0f), limit = hn::Set(kF, 87.0f);  // exp(87) is finite
  map_rows(x, 2 * channels, x + channels, 2 * channels, y, rows, channels, [=](V value, V gate) {
    const V e = hn::Exp(kF, hn::Min(limit, hn::Neg(gate)));
    return hn::Div(value, hn::Add(one, e));
  });
}

void gated_tanh(const float* x, float* y, std::size_t rows, int channels) noexcept {
  const V one = hn::Set(kF, 1.0f), limit = hn::Set(kF, 87.0f);
  map_rows(x, 2 * channels, x + channels, 2 * channels, y, rows, channels, [=](V value, V gate) {
    const V e = hn::Exp(kF, hn::Min(limit, hn::Neg(gate)));
    return hn::Div(hn::Tanh(kF, value), hn::Add(one, e));
  });
}

void snake(const float* x, const float* alpha, float* y, std::size_t rows, int channels) noexcept {
  const V tiny = hn::Set(kF, 1e-9f);
  map_rows(x, channels, alpha, 0, y, rows, channels, [=](V value, V a) {
    const V sine = hn::Sin(kF, hn::Mul(a, value));
    return hn::Add(value, hn::Div(hn::Mul(sine, sine), hn::Add(a, tiny)));
  });
}

// ---- choices

constexpr int kChunk = 64;  // weights that are added up before they are compared
static_assert(kChunk == kDrawSlackFloats);

HWY_INLINE float chunk_sum(const float* weights) noexcept {
  V sum = hn::LoadU(kF, weights);
  for (int i = kLanes; i < kChunk; i += kLanes) sum = hn::Add(sum, hn::LoadU(kF, weights + i));
  return hn::GetLane(hn::SumOfLanes(kF, sum));
}

int likeliest(const float* x, int n) noexcept {
  int best = 0;
  for (int i = 1; i < n; ++i)
    if (x[i] > x[best]) best = i;
  return best;
}

float largest(const float* x, int n) noexcept {
  V tops = hn::Set(kF, x[0]);
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) tops = hn::Max(tops, hn::LoadU(kF, x + i));
  if (i < n) {
    alignas(64) float rest[kLanes];
    for (int l = 0; l < kLanes; ++l) rest[l] = x[i + l < n ? i + l : 0];
    tops = hn::Max(tops, hn::Load(kF, rest));
  }
  return hn::GetLane(hn::MaxOfLanes(kF, tops));
}

int draw(const float* x, int n, float temperature, float share, float* weights) noexcept {
  if (temperature <= 0) return likeliest(x, n);
  const V top = hn::Set(kF, largest(x, n)), scale = hn::Set(kF, 1 / (temperature > 1e-3f ? temperature : 1e-3f));
  const auto weight = [=](V v) { return hn::Exp(kF, hn::Mul(hn::Sub(v, top), scale)); };
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(weight(hn::LoadU(kF, x + i)), kF, weights + i);
  if (i < n) store_some(kF, weight(load_some(x + i, n - i)), weights + i, n - i);
  for (i = n; i % kChunk != 0; ++i) weights[i] = 0;
  const int chunks = i / kChunk;
  double total = 0, mass = 0;
  for (int c = 0; c < chunks; ++c) total += chunk_sum(weights + c * kChunk);
  const double target = share * total;
  int first = 0;  // of the chunk that holds it
  for (double next; first + kChunk < n && !((next = mass + chunk_sum(weights + first)) > target); first += kChunk)
    mass = next;
  const int last = first + kChunk < n ? first + kChunk - 1 : n - 1;
  for (i = first; i < last && !((mass += weights[i]) > target);) ++i;
  return i;
}

// ---- noise

// MurmurHash3's 32-bit finaliser (Appleby, public domain), as in python/model/noise.py.
HWY_INLINE hn::Vec<Words> mix(hn::Vec<Words> x) noexcept {
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<16>(x)), hn::Set(kW, 0x85EBCA6Bu));
  x = hn::Mul(hn::Xor(x, hn::ShiftRight<13>(x)), hn::Set(kW, 0xC2B2AE35u));
  return hn::Xor(x, hn::ShiftRight<16>(x));
}

HWY_INLINE V uniform(hn::Vec<Words> bits) noexcept {
  const V top = hn::ConvertTo(kF, hn::BitCast(hn::RebindToSigned<Words>(), hn::ShiftRight<8>(bits)));
  return hn::Sub(hn::Mul(top, hn::Set(kF, 0x1p-23f)), hn::Set(kF, 1.0f));
}

void noise_row(const std::uint32_t* keys, std::uint32_t frame, float* y, int channels) noexcept {
  const auto position = hn::Set(kW, frame);
  int c = 0;
  for (; c + kLanes <= channels; c += kLanes)
    hn::StoreU(uniform(mix(hn::Xor(hn::LoadU(kW, keys + c), position))), kF, y + c);
  if (c == channels) return;
  alignas(64) std::uint32_t rest[kLanes] = {};
  for (int i = c; i < channels; ++i) rest[i - c] = keys[i];
  store_some(kF, uniform(mix(hn::Xor(hn::Load(kW, rest), position))), y + c, channels - c);
}

// Calls function(first, count, whole) for each vector of `bands`; the compiler makes the whole ones free of branches.
template <class Function>
HWY_INLINE void each_vector(int bands, Function function) noexcept {
  int b = 0;
  for (; b + kLanes <= bands; b += kLanes) function(b, kLanes, hwy::SizeTag<1>());
  if (b < bands) function(b, bands - b, hwy::SizeTag<0>());
}

template <std::size_t kWhole>
HWY_INLINE V load_part(const float* from, int count, hwy::SizeTag<kWhole>) noexcept {
  return kWhole ? hn::LoadU(kF, from) : load_some(from, count);
}

template <std::size_t kWhole>
HWY_INLINE void store_part(V v, float* to, int count, hwy::SizeTag<kWhole>) noexcept {
  kWhole ? hn::StoreU(v, kF, to) : store_some(kF, v, to, count);
}

constexpr int kNoiseBlock = 32;  // noise bands whose magnitudes are turned at a time

// Taps k .. k + kTaps - 1 of the filters of a vector of bands, over one block of noise bands; `add` goes on from there.
template <int kTaps, class Whole>
HWY_INLINE void filter_taps(const float* turned, const float* response, int count, int taps, bool add, float* filters,
                            std::ptrdiff_t stride, int bands, Whole whole) noexcept {
  V sum[kTaps];
  for (int k = 0; k < kTaps; ++k) sum[k] = add ? load_part(filters + k * stride, bands, whole) : hn::Zero(kF);
  for (int i = 0; i < count; ++i) {
    const V magnitude = hn::Load(kF, turned + i * kLanes);
    for (int k = 0; k < kTaps; ++k)
      sum[k] = hn::MulAdd(magnitude, hn::Set(kF, response[std::ptrdiff_t(i) * taps + k]), sum[k]);
  }
  for (int k = 0; k < kTaps; ++k) store_part(sum[k], filters + k * stride, bands, whole);
}

void noise_filters(const float* magnitudes, const float* response, int bands, int noise_bands, int taps,
                   float* filters) noexcept {
  alignas(64) float turned[kNoiseBlock * kLanes] = {};
  each_vector(bands, [&](int b, int count, auto whole) {
    for (int first = 0; first < noise_bands; first += kNoiseBlock) {
      const int block = noise_bands - first < kNoiseBlock ? noise_bands - first : kNoiseBlock;
      for (int l = 0; l < count; ++l)
        for (int i = 0; i < block; ++i)
          turned[i * kLanes + l] = magnitudes[std::ptrdiff_t(b + l) * noise_bands + first + i];
      const float* r = response + std::ptrdiff_t(first) * taps;
      int k = 0;
      for (; k + 4 <= taps; k += 4)
        filter_taps<4>(turned, r + k, block, taps, first > 0, filters + std::ptrdiff_t(k) * bands + b, bands, count,
                       whole);
      for (; k < taps; ++k)
        filter_taps<1>(turned, r + k, block, taps, first > 0, filters + std::ptrdiff_t(k) * bands + b, bands, count,
                       whole);
    }
  });
}

// Four rows at a time: their sums run side by side, and a filter value is read once for them.
template <int kRows>
void fir_rows(const float* noise, const float* filters, int bands, int taps, float* y) noexcept {
  each_vector(bands, [&](int b, int count, auto whole) {
    V sum[kRows];
    for (int t = 0; t < kRows; ++t) sum[t] = hn::Zero(kF);
    for (int k = 0; k < taps; ++k) {
      const std::ptrdiff_t at = std::ptrdiff_t(k) * bands + b;
      const V filter = load_part(filters + at, count, whole);
      for (int t = 0; t < kRows; ++t)
        sum[t] = hn::MulAdd(load_part(noise + at + std::ptrdiff_t(t) * bands, count, whole), filter, sum[t]);
    }
    for (int t = 0; t < kRows; ++t) store_part(sum[t], y + std::ptrdiff_t(t) * bands + b, count, whole);
  });
}

void noise_fir(const float* noise, const float* filters, int bands, int taps, int rows, float* y) noexcept {
  int t = 0;
  for (; t + 4 <= rows; t += 4) fir_rows<4>(noise + t * bands, filters, bands, taps, y + t * bands);
  for (; t < rows; ++t) fir_rows<1>(noise + t * bands, filters, bands, taps, y + t * bands);
}

constexpr Table kTable{
    .isa = kIsa,
    .lanes = kLanes,
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
}  // namespace ravel::kernels
