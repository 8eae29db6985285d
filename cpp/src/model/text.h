// Words of a stranger's file, made fit for a message.
#pragma once

#include <string>
#include <string_view>

namespace ravel {

// Printable ASCII of at most 80 characters; the rest is replaced or cut.
inline std::string printable(std::string_view text) {
  std::string out(text.substr(0, 80));
  for (char& c : out) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text.size() > 80 ? out + "..." : out;
}

inline std::string in_quotes(std::string_view text) {
  std::string out = "'";  // not one expression: GCC 12 sees an overlap in it that is not there (its bug 105651)
  out += printable(text);
  out += '\'';
  return out;
}

}  // namespace ravel
