// How fast the convolutions run: each shape, instruction set, format and number of rows, against the machine's peak.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/pack.h"
#include "roofline.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace {

using ravel::Isa;
using namespace ravel::kernels;
using Clock = std::chrono::steady_clock;

struct Shape {
  const char* name;
  int inputs, taps, outputs;
};

// From wide layers with one or two rows a hop to narrow ones with many.
constexpr Shape kShapes[] = {
    {"v2 upsample", 1536, 2, 1536}, {"v2 unit", 768, 3, 768},      {"v2 unit 1x1", 768, 1, 768},
    {"v2 upsample", 768, 2, 1536},  {"v2 unit", 384, 3, 384},      {"v2 upsample", 192, 2, 384},
    {"v2 unit", 96, 3, 96},         {"v2 unit 1x1", 96, 1, 96},    {"v2 last", 96, 7, 32},
    {"v1 upsample", 1024, 2, 1024}, {"v1 unit", 128, 3, 128},      {"v1 unit", 64, 3, 64},
    {"v1 loudness", 64, 3, 1},      {"low upsample", 512, 2, 512}, {"low unit", 256, 3, 256},
    {"low unit", 64, 3, 64},        {"low unit", 32, 3, 32},       {"low last", 32, 7, 16},
};
constexpr int kRows[] = {1, 2, 4, 8, 32, 128};

struct Arena {
  explicit Arena(std::size_t bytes) : size((bytes + kHuge - 1) / kHuge * kHuge) {
    data = static_cast<std::byte*>(::operator new(size, std::align_val_t(kHuge)));
#if defined(__linux__)
    madvise(data, size, MADV_HUGEPAGE);
#endif
    std::memset(data, 0, size);
  }
  ~Arena() { ::operator delete(data, std::align_val_t(kHuge)); }
  Arena(const Arena&) = delete;
  static constexpr std::size_t kHuge = std::size_t{1} << 21;
  std::size_t size;
  std::byte* data;
};

struct Bench {
  const Table& table;
  double seconds;  // a cell
  std::size_t cold_bytes;

  // Seconds of a call of `rows` rows, over enough copies of the weights that they come from memory (0: one copy).
  double call(const Shape& s, Format format, int rows, std::size_t bytes, int width) const {
    const std::size_t each = packed_bytes(s.outputs, s.taps, s.inputs, width, format, false);
    const std::size_t copies = std::max<std::size_t>(1, bytes / each);
    Arena arena(each * copies);
    std::vector<float> weight(std::size_t(s.outputs) * s.taps * s.inputs);
    for (std::size_t i = 0; i < weight.size(); ++i) weight[i] = float(int(i * 7919 % 2001) - 1000) * 2e-5f;
    std::vector<Weights> w;
    for (std::size_t i = 0; i < copies; ++i) {
      std::byte* to = arena.data + i * each;
      if (i > 0) std::memcpy(to, arena.data, each);
      w.push_back(i > 0 ? w[0] : pack(weight.data(), nullptr, s.outputs, s.taps, s.inputs, width, format, to));
      w.back().data = to;
    }
    std::vector<float> x(std::size_t(rows + s.taps) * s.inputs, 0.5f), y(std::size_t(rows) * s.outputs);
    Conv c{};
    c.x = {x.data(), s.inputs, 0, s.inputs};
    c.frames = rows, c.streams = 1, c.first_panel = 0, c.last_panel = w[0].panels;
    c.act = {y.data(), s.outputs, 0};
    c.slope = 0.2f;
    double best = 1e30, spent = 0;
    const double flops = 2.0 * s.inputs * s.taps * s.outputs * rows;
    const int repeats = copies > 1 ? 1 : std::max(1, int(2e6 / flops));
    for (int turn = 0; spent < seconds || turn < 3; ++turn) {
      const auto start = Clock::now();
      for (int r = 0; r < repeats; ++r)
        for (const Weights& weights : w) c.weights = &weights, table.conv(c);
      const double took = std::chrono::duration<double>(Clock::now() - start).count();
      best = std::min(best, took / repeats / double(copies)), spent += took;
    }
    return best;
  }
};

void print(const Bench& bench, Format format, const std::string& only, int forced_vectors) {
  static const char* const kFormats[] = {"f32", "bf16", "bf16_dot"};
  const double peak =
      format == bf16_dot ? ravel::bench::bf16_dot_gflops(0.05) : ravel::bench::fp32_gflops(0.05, bench.table.isa);
  std::printf("%s %s: peak %.0f GFLOP/s; GFLOP/s by rows, then GB/s of weights at 1 and 2 rows from memory\n",
              name(bench.table.isa), kFormats[format], peak);
  std::printf("  %-24s width", "");
  for (const int rows : kRows) std::printf("%7d", rows);
  std::printf("   GB/s 1      2\n");
  for (const Shape& s : kShapes) {
    const std::string label = std::string(s.name) + " " + std::to_string(s.inputs) + "x" + std::to_string(s.taps) +
                              "-" + std::to_string(s.outputs);
    if (label.find(only) == std::string::npos) continue;
    std::printf("  %-24s", label.c_str());
    for (const int rows : kRows) {
      const int width =
          forced_vectors ? forced_vectors * bench.table.lanes : bench.table.panel_width(s.outputs, format, rows);
      if (rows == 1) std::printf("%6d", width);
      const double took = bench.call(s, format, rows, 0, width);
      std::printf("%7.1f", 2e-9 * s.inputs * s.taps * s.outputs * rows / took);
    }
    for (const int rows : {1, 2}) {
      const int width =
          forced_vectors ? forced_vectors * bench.table.lanes : bench.table.panel_width(s.outputs, format, rows);
      const double took = bench.call(s, format, rows, bench.cold_bytes, width);
      std::printf("%7.1f", 1e-9 * double(packed_bytes(s.outputs, s.taps, s.inputs, width, format, false)) / took);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
}

}  // namespace

// kernels [isa or all] [format: 0 f32, 1 bf16, 2 bf16_dot] [part of a shape's label] [vectors of a panel, 0: chosen]
//         [MB of weights that count as memory]
int main(int argc, char** argv) {
  const std::string isa = argc > 1 ? argv[1] : "", format = argc > 2 ? argv[2] : "", only = argc > 3 ? argv[3] : "";
  for (const Isa each : ravel::supported_isas()) {
    if (each == Isa::reference || (!isa.empty() && isa != "all" && isa != name(each))) continue;
    const Table& t = table(each);
    const std::uint64_t control = t.flush_denormals();
    for (const Format f : {f32, bf16, bf16_dot}) {
      if (!format.empty() && std::stoi(format) != f) continue;
      if ((f == bf16_dot) != (each == Isa::avx512_bf16)) continue;
      print({t, 0.01, std::size_t(argc > 5 ? std::stoi(argv[5]) : 96) << 20}, f, only,
            argc > 4 ? std::stoi(argv[4]) : 0);
    }
    t.restore_denormals(control);
  }
}
