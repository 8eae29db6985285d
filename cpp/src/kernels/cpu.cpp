// Which instruction sets this machine has, the table of each, and the denormal switch.
#include "ravel/cpu.h"

#include <algorithm>

#include "ravel/error.h"
#include "tables.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(_M_ARM64)
#include <intrin.h>
#endif

namespace ravel {

const char* name(Isa isa) noexcept {
  switch (isa) {
    case Isa::reference:
      return "reference";
    case Isa::sse4:
      return "sse4";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512_bf16:
      return "avx512_bf16";
    case Isa::neon:
      return "neon";
  }
  return "unknown";
}

const std::vector<Isa>& supported_isas() {
  static const std::vector<Isa> found{Isa::reference};
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
  return reference_table();
}

#if defined(__x86_64__) || defined(_M_X64)

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
