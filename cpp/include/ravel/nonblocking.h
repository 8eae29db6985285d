// Marks, after `noexcept`, what the audio thread calls: clang 20 and newer check it (-fsanitize=realtime at run time,
// -Wfunction-effects when compiling), other compilers read nothing.
#pragma once

#if defined(__has_cpp_attribute)
#if __has_cpp_attribute(clang::nonblocking)
#define RAVEL_NONBLOCKING [[clang::nonblocking]]
#endif
#endif
#ifndef RAVEL_NONBLOCKING
#define RAVEL_NONBLOCKING
#endif
