// Which instruction sets this machine has, the table of each, and the denormal switch.
#include "ravel/cpu.h"

#include <algorithm>
#include <initializer_list>

#include "ravel/error.h"
#include "tables.h"

#if defined(__x86_64__) || defined(_M_X64)
#define RAVEL_X86 1
#include <immintrin.h>
#endif
#if defined(_MSC_VER)
#include <intrin.h>
#elif defined(RAVEL_X86)
#include <cpuid.h>
#endif

namespace ravel {
namespace {

#if defined(RAVEL_X86)

struct Registers {
  unsigned eax, ebx, ecx, edx;
};

Registers cpuid(unsigned leaf, unsigned subleaf) noexcept {
  Registers r{};
#if defined(_MSC_VER)
  int out[4];
  __cpuid(out, 0);
  if (leaf > unsigned(out[0])) return r;
  __cpuidex(out, int(leaf), int(subleaf));
  r = {unsigned(out[0]), unsigned(out[1]), unsigned(out[2]), unsigned(out[3])};
#else
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);  // leaves zeros where there is no such leaf
#endif
  return r;
}

// Which registers the operating system saves: bit 1 SSE, 2 AVX, 5 to 7 AVX-512.
unsigned saved_state() noexcept {
#if defined(_MSC_VER)
  return unsigned(_xgetbv(0));
#else
  unsigned eax, edx;
  asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return eax;
#endif
}

bool has(unsigned bits, std::initializer_list<int> wanted) noexcept {
  return std::all_of(wanted.begin(), wanted.end(), [bits](int bit) { return bits >> bit & 1; });
}

std::vector<Isa> detected() {
  std::vector<Isa> found{Isa::reference};
  const Registers one = cpuid(1, 0), seven = cpuid(7, 0);
  if (!has(one.ecx, {0, 9, 19, 20})) return found;  // SSE3, SSSE3, SSE4.1, SSE4.2
  found.push_back(Isa::sse4);
  const unsigned saved = has(one.ecx, {27}) ? saved_state() : 0;
  // FMA, AVX, F16C; BMI, AVX2, BMI2
  if (!has(saved, {1, 2}) || !has(one.ecx, {12, 28, 29}) || !has(seven.ebx, {3, 5, 8})) return found;
  found.push_back(Isa::avx2);
#if defined(RAVEL_AVX512)
  if (!has(saved, {5, 6, 7}) || !has(seven.ebx, {16, 17, 28, 30, 31})) return found;  // F, DQ, CD, BW, VL
  found.push_back(Isa::avx512);
  if (has(cpuid(7, 1).eax, {5})) found.push_back(Isa::avx512_bf16);
#endif
  return found;
}

#elif defined(__aarch64__) || defined(_M_ARM64)

std::vector<Isa> detected() { return {Isa::reference, Isa::neon}; }  // every 64-bit Arm has it

#else

std::vector<Isa> detected() { return {Isa::reference}; }

#endif

}  // namespace

const char* name(Isa isa) noexcept {
  switch (isa) {
    case Isa::reference: return "reference";
    case Isa::sse4: return "sse4";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512_bf16: return "avx512_bf16";
    case Isa::neon: return "neon";
  }
  return "unknown";
}

const std::vector<Isa>& supported_isas() {
  static const std::vector<Isa> found = detected();
  return found;
}

Isa best_isa() { return supported_isas().back(); }

Isa isa_from_name(const std::string& wanted) {
  std::string known;
  for (const Isa isa : supported_isas()) {
    if (wanted == name(isa)) return isa;
    known += known.empty() ? "" : ", ";
    known += name(isa);
  }
  throw Error("instruction set \"" + wanted + "\": this machine runs " + known);
}

namespace kernels {

const Table& table(Isa isa) {
  const auto& found = supported_isas();
  if (std::find(found.begin(), found.end(), isa) == found.end())
    throw Error(std::string("instruction set ") + name(isa) + ": not on this machine");
  switch (isa) {
#if defined(RAVEL_X86)
    case Isa::sse4: return sse4_table();
    case Isa::avx2: return avx2_table();
#if defined(RAVEL_AVX512)
    case Isa::avx512: return avx512_table();
    case Isa::avx512_bf16: return avx512_bf16_table();
#endif
#elif defined(__aarch64__) || defined(_M_ARM64)
    case Isa::neon: return neon_table();
#endif
    default: return reference_table();
  }
}

#if defined(RAVEL_X86)

std::uint64_t flush_denormals() noexcept {
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);  // flush to zero, denormals are zero
  return before;
}

void restore_denormals(std::uint64_t control) noexcept { _mm_setcsr(unsigned(control)); }

#elif defined(_M_ARM64)

std::uint64_t flush_denormals() noexcept {
  const std::uint64_t before = std::uint64_t(_ReadStatusReg(ARM64_FPCR));
  _WriteStatusReg(ARM64_FPCR, std::int64_t(before | (1u << 24)));
  return before;
}

void restore_denormals(std::uint64_t control) noexcept { _WriteStatusReg(ARM64_FPCR, std::int64_t(control)); }

#elif defined(__aarch64__)

std::uint64_t flush_denormals() noexcept {
  std::uint64_t before;
  asm volatile("mrs %0, fpcr" : "=r"(before));
  asm volatile("msr fpcr, %0" : : "r"(before | (std::uint64_t(1) << 24)));
  return before;
}

void restore_denormals(std::uint64_t control) noexcept { asm volatile("msr fpcr, %0" : : "r"(control)); }

#else

std::uint64_t flush_denormals() noexcept { return 0; }
void restore_denormals(std::uint64_t) noexcept {}

#endif

}  // namespace kernels
}  // namespace ravel
