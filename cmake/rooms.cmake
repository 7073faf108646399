# SPDX-License-Identifier: Apache-2.0
# THE list of rooms: each line names a room, the rooms it may include, and its outside libraries.
# tools/check_layers.py reads the same lines and holds every #include against them.
# Adding a file touches no CMake: x.cc joins its room, x_test.cc joins the room's test.
function(baltoro_room name)
  cmake_parse_arguments(R "" "" "USES;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/baltoro/${name}/*.cc)
  set(tests ${sources})
  set(benches ${sources})
  list(FILTER sources EXCLUDE REGEX "_(test|bench|main)\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")
  list(TRANSFORM R_USES PREPEND baltoro_ OUTPUT_VARIABLE uses)
  add_library(baltoro_${name} STATIC ${sources})
  target_link_libraries(baltoro_${name} PUBLIC baltoro_options ${uses} PRIVATE ${R_LIBS})
  if(BALTORO_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE baltoro_${name} GTest::gmock_main ${R_LIBS})
    # They are compiled more than they run. GCC 12 at -O1 sees uninitialised strings that are none.
    target_compile_options(${name}_test PRIVATE $<$<CONFIG:Release>:-O1 -Wno-maybe-uninitialized>)
    target_compile_definitions(${name}_test PRIVATE
      BALTORO_SOURCE_DIR="${CMAKE_SOURCE_DIR}" BALTORO_SHARED_DIR="${BALTORO_SHARED_DIR}")
    add_test(NAME ${name} COMMAND ${name}_test --gtest_brief=1)
  endif()
  if(BALTORO_BENCH AND benches)
    add_executable(${name}_bench ${benches})
    target_link_libraries(${name}_bench PRIVATE baltoro_${name} benchmark::benchmark_main)
  endif()
endfunction()

if(BALTORO_TESTS)
  enable_testing()
  find_package(GTest REQUIRED)
endif()
if(BALTORO_BENCH)
  find_package(benchmark REQUIRED)
endif()

baltoro_room(base LIBS fmt::fmt simdjson::simdjson OpenSSL::Crypto PkgConfig::liburing)
baltoro_room(tensor USES base)
baltoro_room(kernels USES tensor base)
baltoro_room(model USES kernels tensor base LIBS fmt::fmt)
baltoro_room(engine USES model kernels tensor base LIBS fmt::fmt)
baltoro_room(text USES base LIBS fmt::fmt)
baltoro_room(llm USES text engine model base LIBS fmt::fmt)
baltoro_room(server USES llm text base LIBS fmt::fmt Boost::headers OpenSSL::Crypto)
baltoro_room(cli USES server llm text engine model kernels tensor base LIBS fmt::fmt CLI11::CLI11 PkgConfig::libedit)

add_executable(baltoro baltoro/cli/baltoro_main.cc)
target_link_libraries(baltoro PRIVATE baltoro_cli fmt::fmt CLI11::CLI11)
target_compile_definitions(baltoro PRIVATE BALTORO_VERSION="${PROJECT_VERSION}")

add_subdirectory(tests)
