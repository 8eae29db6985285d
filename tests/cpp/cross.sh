#!/bin/sh
# The kernel tests on processors that this machine is not, by emulation: x86-64 of 2010 and 2013, and 64-bit Arm.
#   tests/cpp/cross.sh BUILD [ARM_BUILD]    BUILD holds the native tests; the Arm build goes to BUILD-aarch64
# Needs qemu-user and g++-aarch64-linux-gnu.
set -eu
build=$1
arm=${2:-$build-aarch64}
root=$(cd "$(dirname "$0")/../.." && pwd)
cross=aarch64-linux-gnu-g++

mkdir -p "$arm"
log=$arm/cross.log
quietly() { "$@" >"$log" 2>&1 || { cat "$log"; exit 1; }; }
emulated() {
  echo "$1"
  shift
  quietly "$@" --test-case='kernels:*'
  grep assertions: "$log"
}

tests=$(find "$build" -name ravel_tests -type f)
emulated "x86-64 of 2010 (SSE4)" qemu-x86_64 -cpu Westmere "$tests"
emulated "x86-64 of 2013 (AVX2)" qemu-x86_64 -cpu Haswell "$tests"

quietly cmake -S "$root" -B "$arm" -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
  -DCMAKE_CXX_COMPILER=$cross -DRAVEL_PYTHON=OFF -DRAVEL_PLAYER=OFF
quietly cmake --build "$arm" --target ravel_kernels --parallel 2
quietly $cross -std=c++20 -O1 -static -I"$root/cpp/include" -I"$root/cpp/src" "$root/tests/cpp/test_kernels.cpp" \
  "$root/tests/cpp/main.cpp" "$arm/cpp/src/kernels/libravel_kernels.a" -o "$arm/kernel_tests"
emulated "64-bit Arm (NEON)" qemu-aarch64 "$arm/kernel_tests"
