# SPDX-License-Identifier: Apache-2.0
# The chat page goes into the program: web/ -> page_files.cc -> the server room.
file(GLOB page_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/web/*.html ${CMAKE_SOURCE_DIR}/web/*.css
  ${CMAKE_SOURCE_DIR}/web/*.js ${CMAKE_SOURCE_DIR}/web/*.svg)
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/page_files.cc
  COMMAND ${CMAKE_COMMAND} -DFOLDER=${CMAKE_SOURCE_DIR}/web -DOUT=${CMAKE_BINARY_DIR}/page_files.cc
    -P ${CMAKE_SOURCE_DIR}/cmake/embed_page.cmake
  DEPENDS ${page_files} ${CMAKE_SOURCE_DIR}/cmake/embed_page.cmake
  COMMENT "Embedding web/")
target_sources(baltoro_server PRIVATE ${CMAKE_BINARY_DIR}/page_files.cc)
