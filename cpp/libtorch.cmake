# The target ravel_libtorch: the shared libraries and headers of a PyTorch installation or of the libtorch archive.
# Not find_package(Torch): with a CUDA wheel it stops where the CUDA toolkit is not installed, and none is needed here.
set(RAVEL_LIBTORCH_DIR "" CACHE PATH "The folder with include/ and lib/ of torch; empty: of the torch that Python has")
if(RAVEL_LIBTORCH_DIR)
  set(libtorch ${RAVEL_LIBTORCH_DIR})
else()
  find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
  execute_process(COMMAND ${Python_EXECUTABLE} -c
                          "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
                  OUTPUT_VARIABLE libtorch OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT libtorch)
    message(FATAL_ERROR "${Python_EXECUTABLE} has no torch: give one by -DPython_EXECUTABLE= or -DRAVEL_LIBTORCH_DIR=")
  endif()
  file(TO_CMAKE_PATH "${libtorch}" libtorch)
endif()
if(NOT EXISTS ${libtorch}/include/torch/script.h)
  message(FATAL_ERROR "no include/torch/script.h in ${libtorch}: set RAVEL_LIBTORCH_DIR")
endif()
file(STRINGS ${libtorch}/share/cmake/Torch/TorchConfig.cmake old_abi REGEX "_GLIBCXX_USE_CXX11_ABI=0")
if(old_abi)
  message(FATAL_ERROR "${libtorch} is made for the C++ library of before 2015: PyTorch 2.7 and newer are not")
endif()

add_library(ravel_libtorch INTERFACE)
foreach(name torch_cpu c10)
  find_library(RAVEL_LIB_${name} ${name} PATHS ${libtorch}/lib REQUIRED NO_DEFAULT_PATH)
  add_library(ravel_${name} SHARED IMPORTED GLOBAL)
  set_target_properties(ravel_${name} PROPERTIES IMPORTED_LOCATION ${RAVEL_LIB_${name}} IMPORTED_IMPLIB "${RAVEL_LIB_${name}}")
  target_link_libraries(ravel_libtorch INTERFACE ravel_${name})
endforeach()
target_include_directories(ravel_libtorch SYSTEM INTERFACE ${libtorch}/include
                                                           ${libtorch}/include/torch/csrc/api/include)
if(UNIX AND NOT APPLE)
  # libtorch needs an OpenMP that lies beside it, which the linker of a program would look for
  target_link_options(ravel_libtorch INTERFACE -Wl,-rpath-link,${libtorch}/lib)
endif()
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)  # what is installed finds it where it was built with
