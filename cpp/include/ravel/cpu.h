// The instruction sets that the kernels are compiled for, and which of them this machine has.
#pragma once

#include <string>
#include <vector>

namespace ravel {

// Ordered from slow to fast within an architecture. `reference` is the plain C++ oracle and runs everywhere.
enum class Isa { reference, sse4, avx2, avx512, avx512_bf16, neon };

const char* name(Isa isa) noexcept;

// What this machine can run, slowest first; never empty.
const std::vector<Isa>& supported_isas();

// The fastest of them.
Isa best_isa();

// By name ("avx2"). Throws Error listing what this machine has when it cannot run it.
Isa isa_from_name(const std::string& name);

}  // namespace ravel
