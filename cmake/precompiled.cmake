# SPDX-License-Identifier: Apache-2.0
# Headers of others that most files read, parsed once, which is a quarter of a build. Clang does without: a file that
# forgets one of its own #includes is found there.
set(BALTORO_STD_HEADERS <algorithm> <array> <atomic> <chrono> <condition_variable> <functional> <map> <memory>
  <mutex> <optional> <random> <span> <string> <string_view> <thread> <unordered_map> <utility> <variant> <vector>)

if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
  add_compile_options(-fpch-preprocess)  # ccache asks for it
else()
  set(CMAKE_DISABLE_PRECOMPILE_HEADERS ON)
endif()

# A target `name` that others take these headers from (REUSE_FROM), if they are compiled with its options: those of
# LIBS and OPTIONS, and more macros.
function(baltoro_precompile name)
  cmake_parse_arguments(P "" "" "LIBS;OPTIONS;HEADERS" ${ARGN})
  file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/${name}.cc CONTENT "")
  add_library(${name} OBJECT ${CMAKE_BINARY_DIR}/${name}.cc)
  target_link_libraries(${name} PRIVATE baltoro_options ${P_LIBS})
  target_compile_options(${name} PRIVATE ${P_OPTIONS})
  target_precompile_headers(${name} PRIVATE ${P_HEADERS})
endfunction()

baltoro_precompile(baltoro_room_headers LIBS fmt::fmt HEADERS ${BALTORO_STD_HEADERS} <fmt/format.h>)
