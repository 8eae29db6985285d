// One loop for each instruction set, compiled by function attributes: this unit shares no inline code with others.
#include "roofline.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "ravel/error.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace ravel::bench {
namespace {

constexpr int kAccumulators = 12;       // two pipes of four cycles of latency need 8, and SSE has 16 registers
constexpr std::size_t kReadStep = 512;  // bytes an iteration: 8 vectors of the widest kind
constexpr std::size_t kHugePage = std::size_t{1} << 21;

volatile float half = 0.5F;  // x = x / 2 + 1 / 2 settles at 1, far from denormals and infinity
volatile float sink_float;
volatile std::uint64_t sink_bits;

// NOLINTBEGIN(bugprone-macro-parentheses): types and attributes cannot stand in parentheses
#define RAVEL_FMA_LOOP(NAME, TARGET, VECTOR, SPLAT, MULTIPLY_ADD)                \
  TARGET void NAME(std::int64_t iterations) {                                    \
    const VECTOR a = SPLAT(half), b = SPLAT(half);                               \
    VECTOR x[kAccumulators];                                                     \
    for (int i = 0; i < kAccumulators; ++i) x[i] = SPLAT(static_cast<float>(i)); \
    for (std::int64_t n = 0; n < iterations; ++n)                                \
      for (int i = 0; i < kAccumulators; ++i) x[i] = MULTIPLY_ADD(x[i], a, b);   \
    for (int i = 1; i < kAccumulators; ++i) x[0] = MULTIPLY_ADD(x[0], a, x[i]);  \
    float first;                                                                 \
    std::memcpy(&first, &x[0], sizeof first);                                    \
    sink_float = first;                                                          \
  }
#define RAVEL_READ_LOOP(NAME, TARGET, VECTOR, LOAD, ADD)                        \
  TARGET void NAME(const std::byte* data, std::size_t bytes) {                  \
    constexpr std::size_t kVectors = kReadStep / sizeof(VECTOR);                \
    VECTOR x[kVectors] = {};                                                    \
    for (std::size_t at = 0; at < bytes; at += kReadStep)                       \
      for (std::size_t i = 0; i < kVectors; ++i)                                \
        x[i] = ADD(x[i], LOAD(reinterpret_cast<const VECTOR*>(data + at) + i)); \
    for (std::size_t i = 1; i < kVectors; ++i) x[0] = ADD(x[0], x[i]);          \
    std::uint64_t first;                                                        \
    std::memcpy(&first, &x[0], sizeof first);                                   \
    sink_bits = first;                                                          \
  }
// NOLINTEND(bugprone-macro-parentheses)

float scalar_splat(float value) { return value; }
float scalar_multiply_add(float x, float a, float b) { return x * a + b; }
std::uint64_t scalar_load(const std::uint64_t* from) { return *from; }
std::uint64_t scalar_add(std::uint64_t a, std::uint64_t b) { return a + b; }
RAVEL_FMA_LOOP(multiply_scalar, , float, scalar_splat, scalar_multiply_add)
RAVEL_READ_LOOP(read_scalar, , std::uint64_t, scalar_load, scalar_add)

#if defined(__x86_64__)
#define RAVEL_SSE_MULTIPLY_ADD(x, a, b) _mm_add_ps(_mm_mul_ps(x, a), b)
#define RAVEL_AVX512 __attribute__((target("avx512f")))
RAVEL_FMA_LOOP(multiply_sse4, , __m128, _mm_set1_ps, RAVEL_SSE_MULTIPLY_ADD)
RAVEL_READ_LOOP(read_sse4, , __m128i, _mm_load_si128, _mm_add_epi64)
RAVEL_FMA_LOOP(multiply_avx2, __attribute__((target("avx2,fma"))), __m256, _mm256_set1_ps, _mm256_fmadd_ps)
RAVEL_READ_LOOP(read_avx2, __attribute__((target("avx2"))), __m256i, _mm256_load_si256, _mm256_add_epi64)
RAVEL_FMA_LOOP(multiply_avx512, RAVEL_AVX512, __m512, _mm512_set1_ps, _mm512_fmadd_ps)
RAVEL_READ_LOOP(read_avx512, RAVEL_AVX512, __m512i, _mm512_load_si512, _mm512_add_epi64)

__attribute__((target("avx512bf16,avx512f"))) void multiply_bf16(std::int64_t iterations) {
  const __m512 halves = _mm512_set1_ps(half);
  const __m512bh a = _mm512_cvtne2ps_pbh(halves, _mm512_set1_ps(0));
  __m512 x[kAccumulators];  // apart, or the compiler sees one sum
  for (int i = 0; i < kAccumulators; ++i) x[i] = _mm512_set1_ps(static_cast<float>(i));
  for (std::int64_t n = 0; n < iterations; ++n)
    for (auto& sum : x) sum = _mm512_dpbf16_ps(sum, a, a);
  for (int i = 1; i < kAccumulators; ++i) x[0] = _mm512_add_ps(x[0], x[i]);
  sink_float = _mm512_cvtss_f32(x[0]);
}
#elif defined(__aarch64__)
#define RAVEL_NEON_MULTIPLY_ADD(x, a, b) vfmaq_f32(b, x, a)
#define RAVEL_NEON_LOAD(from) vld1q_u64(reinterpret_cast<const std::uint64_t*>(from))
RAVEL_FMA_LOOP(multiply_neon, , float32x4_t, vdupq_n_f32, RAVEL_NEON_MULTIPLY_ADD)
RAVEL_READ_LOOP(read_neon, , uint64x2_t, RAVEL_NEON_LOAD, vaddq_u64)
#endif

struct Loops {
  void (*multiply)(std::int64_t) = multiply_scalar;
  void (*read)(const std::byte*, std::size_t) = read_scalar;
  int lanes = 1;
};

Loops loops(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::sse4: return {multiply_sse4, read_sse4, 4};
    case Isa::avx2: return {multiply_avx2, read_avx2, 8};
    case Isa::avx512:
    case Isa::avx512_bf16: return {multiply_avx512, read_avx512, 16};
#elif defined(__aarch64__)
    case Isa::neon: return {multiply_neon, read_neon, 4};
#endif
    default: return {};
  }
}

// The least seconds that `work` took, repeated until `seconds` have passed.
template <class Work>
double quickest(double seconds, Work work) {
  using Clock = std::chrono::steady_clock;
  double best = 1e30, spent = 0;
  do {
    const auto start = Clock::now();
    work();
    const double took = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, took);
    spent += took;
  } while (spent < seconds);
  return best;
}

constexpr std::int64_t kIterations = 1'000'000;  // of kAccumulators: two milliseconds and more

double gflops(double seconds, void (*multiply)(std::int64_t), int flops_each) {
  const double took = quickest(seconds, [&] { multiply(kIterations); });
  return static_cast<double>(kIterations) * kAccumulators * flops_each / took * 1e-9;
}

}  // namespace

double fp32_gflops(double seconds, Isa isa) {
  const Loops loop = loops(isa);
  return gflops(seconds, loop.multiply, 2 * loop.lanes);
}

double bf16_dot_gflops(double seconds) {
  isa_from_name(name(Isa::avx512_bf16));  // or Error
#if defined(__x86_64__)
  return gflops(seconds, multiply_bf16, 4 * 16);
#else
  return seconds;
#endif
}

double read_gb_per_s(std::size_t bytes, double seconds, Isa isa) {
  constexpr std::size_t kLeast = 4096, kStretch = std::size_t{1} << 26;  // 64 MiB: a millisecond from a cache
  bytes = std::max(bytes / kReadStep * kReadStep, kLeast);
  const auto alignment = std::align_val_t{kHugePage};
  const auto release = [&](std::byte* data) { ::operator delete(data, alignment); };
  const std::unique_ptr<std::byte, decltype(release)> data(
      static_cast<std::byte*>(::operator new((bytes + kHugePage - 1) / kHugePage * kHugePage, alignment)), release);
#if defined(__linux__)
  madvise(data.get(), bytes, MADV_HUGEPAGE);  // as the engine keeps its weights
#endif
  std::memset(data.get(), 1, bytes);
  const auto read = loops(isa).read;
  const std::size_t passes = std::max<std::size_t>(1, kStretch / bytes);
  const double took = quickest(seconds, [&] {
    for (std::size_t n = 0; n < passes; ++n) read(data.get(), bytes);
  });
  return static_cast<double>(bytes) * static_cast<double>(passes) / took * 1e-9;
}

}  // namespace ravel::bench
