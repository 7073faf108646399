# SPDX-License-Identifier: Apache-2.0
# Programs of GoogleTest, which are compiled more than they run. At -O1 with precompiled headers GCC 12 sees faults in
# strings of the standard library that are none.
enable_testing()
find_package(GTest REQUIRED)
set(BALTORO_TEST_OPTIONS $<$<CONFIG:RelWithDebInfo>:-O0> $<$<CONFIG:Release>:-O1>)
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_BUILD_TYPE STREQUAL Release)
  list(APPEND BALTORO_TEST_OPTIONS -Wno-maybe-uninitialized -Wno-array-bounds -Wno-restrict -Wno-stringop-overflow
    -Wno-stringop-overread)
endif()
baltoro_precompile(baltoro_test_headers LIBS fmt::fmt GTest::gmock OPTIONS ${BALTORO_TEST_OPTIONS}
  HEADERS ${BALTORO_STD_HEADERS} <fmt/format.h> <gmock/gmock.h> <gtest/gtest.h>)

# Test `name`: the program `target` of SOURCES.
function(baltoro_test name target)
  cmake_parse_arguments(T "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${target} ${T_SOURCES})
  target_link_libraries(${target} PRIVATE ${T_LIBS} GTest::gmock_main fmt::fmt)
  target_compile_options(${target} PRIVATE ${BALTORO_TEST_OPTIONS})
  target_precompile_headers(${target} REUSE_FROM baltoro_test_headers)
  target_compile_definitions(${target} PRIVATE
    BALTORO_SOURCE_DIR="${CMAKE_SOURCE_DIR}" BALTORO_SHARED_DIR="${BALTORO_SHARED_DIR}")
  add_test(NAME ${name} COMMAND ${target} --gtest_brief=1)
endfunction()
