// The native dot product of bfloat16 pairs (Cooper Lake 2020, Zen 4 2022, Sapphire Rapids 2023 on); Highway 1.0 has none.
#include <immintrin.h>

#include <cstring>

#include "tables.h"

namespace ravel::kernels {
namespace {

constexpr Isa kIsa = Isa::avx512_bf16;
constexpr int kTileRows[2][6] = {{8, 8, 8, 6, 4, 3}, {8, 8, 8, 6, 4, 3}};

constexpr int kShares[2][3][6] = {};  // avx512 chooses the panels

}  // namespace
}  // namespace ravel::kernels

#include "simd-inl.h"

namespace ravel::kernels {
namespace {

HWY_INLINE __m512 dot(__m512 sum, __m512bh a, __m512bh b) noexcept {
  return pinned(V{_mm512_dpbf16_ps(sum, a, b)}).raw;
}

// Two products a lane and instruction; it rounds to nearest and takes denormals as zeros whatever the control word says.
struct DotTile {
  static constexpr Format kFormat = bf16_dot;
  template <int kVectors, int kRows>
  static void run(const Stretch& s, const void* const* rows, float* sums) noexcept {
    __m512 sum[kRows][kVectors];
    for (int n = 0; n < kRows; ++n)
      for (int v = 0; v < kVectors; ++v) sum[n][v] = _mm512_load_ps(sums + (n * kVectors + v) * kLanes);
    const std::uint16_t* w = static_cast<const std::uint16_t*>(s.weights);
    for (int tap = 0; tap < s.taps; ++tap) {
      const std::uint16_t* x[kRows];
      for (int n = 0; n < kRows; ++n) x[n] = static_cast<const std::uint16_t*>(rows[n]) + s.at + tap * s.tap_stride;
      for (std::ptrdiff_t i = 0; i < s.run; i += 2) {
        const auto weight = [w](int v) { return (__m512bh)_mm512_load_si512(w + v * 2 * kLanes); };
        const auto values = [x, i](int n) {
          int pair;
          std::memcpy(&pair, x[n] + i, sizeof pair);
          return (__m512bh)_mm512_set1_epi32(pair);
        };
        if constexpr (kRows < kVectors) {
          __m512bh value[kRows];
          for (int n = 0; n < kRows; ++n) value[n] = values(n);
          for (int v = 0; v < kVectors; ++v) {
            const __m512bh each = weight(v);
            for (int n = 0; n < kRows; ++n) sum[n][v] = dot(sum[n][v], each, value[n]);
          }
        } else {
          __m512bh each[kVectors];
          for (int v = 0; v < kVectors; ++v) each[v] = weight(v);
          for (int n = 0; n < kRows; ++n) {
            const __m512bh value = values(n);
            for (int v = 0; v < kVectors; ++v) sum[n][v] = dot(sum[n][v], each[v], value);
          }
        }
        w += kVectors * 2 * kLanes;
      }
    }
    for (int n = 0; n < kRows; ++n)
      for (int v = 0; v < kVectors; ++v) _mm512_store_ps(sums + (n * kVectors + v) * kLanes, sum[n][v]);
  }
};

constexpr Tiles kDotTiles = tiles_of<DotTile>();

void conv_or_dot(const Conv& c) noexcept {
  c.weights->format == bf16_dot ? conv_with(kDotTiles, c) : avx512_table().conv(c);
}

}  // namespace

const Table& avx512_bf16_table() noexcept {
  static const Table table = [] {
    Table t = avx512_table();
    t.isa = kIsa;
    t.conv = conv_or_dot;
    return t;
  }();
  return table;
}

}  // namespace ravel::kernels
