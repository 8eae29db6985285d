// What goes wrong before audio runs: one exception type whose text names the node, the numbers and the fix.
#pragma once

#include <stdexcept>

namespace ravel {

class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace ravel
