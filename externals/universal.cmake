# Binaries for both of Apple's processors: their kernels are different sources, so each is built by itself, then both are
# joined.
if(APPLE)
  option(RAVEL_UNIVERSAL "Plugin and objects for both processors of Apple's" OFF)
endif()

# A target that builds BUILT of this project for the processor that is not being built for, in a build folder of its own;
# further arguments go to CMake, lists in them with | between.
function(ravel_other_processor target built)
  if(CMAKE_OSX_ARCHITECTURES STREQUAL arm64)
    set(other x86_64)
  elseif(CMAKE_OSX_ARCHITECTURES STREQUAL x86_64)
    set(other arm64)
  else()
    message(FATAL_ERROR "RAVEL_UNIVERSAL: -DCMAKE_OSX_ARCHITECTURES=arm64 or x86_64; the other one is built beside it")
  endif()
  include(ExternalProject)
  ExternalProject_Add(${target}
    SOURCE_DIR ${PROJECT_SOURCE_DIR}
    BINARY_DIR ${CMAKE_BINARY_DIR}/${target}
    LIST_SEPARATOR |
    CMAKE_ARGS -DRAVEL_PYTHON=OFF -DCMAKE_OSX_ARCHITECTURES=${other} -DCMAKE_BUILD_TYPE=${CMAKE_BUILD_TYPE}
               -DCMAKE_OSX_DEPLOYMENT_TARGET=${CMAKE_OSX_DEPLOYMENT_TARGET} ${ARGN}
    BUILD_COMMAND ${CMAKE_COMMAND} --build <BINARY_DIR> --target ${built}
    INSTALL_COMMAND ""
    BUILD_ALWAYS ON)
endfunction()

# The binary of a target holds from now on what OTHER has built at the same place for the other processor.
function(ravel_join_processors target other)
  set(here $<TARGET_FILE:${target}>)
  set(there ${CMAKE_BINARY_DIR}/${other}/$<PATH:RELATIVE_PATH,${here},${CMAKE_BINARY_DIR}>)
  add_dependencies(${target} ${other})
  add_custom_command(TARGET ${target} POST_BUILD COMMAND lipo -create ${here} ${there} -output ${here} VERBATIM)
endfunction()
