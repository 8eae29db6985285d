// The model card of a file as an Info, checked by itself; what the graph must agree with is checked there.
#pragma once

#include <string>

#include "ravel/model.h"

namespace ravel {

inline constexpr int kMaxHopSamples = 65536;
inline constexpr int kMaxChannels = 65536;
inline constexpr int kMaxQuantisers = 64;
inline constexpr int kMaxCodes = 65536;

// Of a `.ravel`. Throws Error, which starts with "card".
Info read_card(const std::string& text);
// Of a `.ts`, likewise: it has no kind of weights, and has to be one for streaming.
Info read_script_card(const std::string& text);

}  // namespace ravel
