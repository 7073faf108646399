# SPDX-License-Identifier: Apache-2.0
# Flags for all of our code. The baseline is x86-64: wider instructions live in
# kernels/ behind run-time dispatch, so that one binary runs on every machine.
add_library(baltoro_options INTERFACE)
target_include_directories(baltoro_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(baltoro_options INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wnon-virtual-dtor -Wundef -Werror
  -fno-math-errno -fno-omit-frame-pointer -ffp-contract=off)
target_compile_definitions(baltoro_options INTERFACE
  _GLIBCXX_ASSERTIONS $<$<CONFIG:RelWithDebInfo,Debug>:BALTORO_DCHECKS=1>)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(baltoro_options INTERFACE -Wno-missing-braces)
endif()
if(BALTORO_SANITIZE)
  target_compile_options(baltoro_options INTERFACE -fsanitize=${BALTORO_SANITIZE} -fno-sanitize-recover=all)
  if(BALTORO_SANITIZE_SKIP)
    target_compile_options(baltoro_options INTERFACE -fno-sanitize=${BALTORO_SANITIZE_SKIP})
  endif()
  target_link_options(baltoro_options INTERFACE -fsanitize=${BALTORO_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)  # its instrumentation hides initialisations from this warning
    target_compile_options(baltoro_options INTERFACE -Wno-maybe-uninitialized)
    if(BALTORO_SANITIZE STREQUAL thread)  # fences, which Boost.Asio has: it does not see them, and says so
      target_compile_options(baltoro_options INTERFACE -Wno-tsan)
    endif()
  endif()
endif()
if(BALTORO_FUZZ)
  target_compile_options(baltoro_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_link_libraries(baltoro_options INTERFACE Threads::Threads)
