// What this machine can do at most, on one thread: the two lines of a roofline.
#pragma once

#include <cstddef>

#include "ravel/cpu.h"

namespace ravel::bench {

// Each runs for about `seconds` and gives the best stretch of a few milliseconds: clocks rise, neighbours come and go.
double fp32_gflops(double seconds, Isa isa);  // multiply-adds between registers; sse4 has to multiply and add
double bf16_dot_gflops(double seconds);       // the native dot product; throws Error without avx512_bf16
double read_gb_per_s(std::size_t bytes, double seconds, Isa isa);  // passes over a buffer of `bytes`

}  // namespace ravel::bench
