# SPDX-License-Identifier: Apache-2.0
# cmake -DFOLDER=web -DOUT=page_files.cc -P embed_page.cmake: the page's files as one C++ source.
set(type_html "text/html; charset=utf-8")
set(type_css "text/css; charset=utf-8")
set(type_js "text/javascript; charset=utf-8")
set(type_svg "image/svg+xml")
file(GLOB names RELATIVE ${FOLDER} ${FOLDER}/*.html ${FOLDER}/*.css ${FOLDER}/*.js ${FOLDER}/*.svg)
list(SORT names)
set(rows "")
foreach(name IN LISTS names)
  file(SIZE ${FOLDER}/${name} size)
  file(READ ${FOLDER}/${name} bytes HEX)
  string(REGEX REPLACE "(..)" "\\\\x\\1" bytes "${bytes}")
  file(SHA256 ${FOLDER}/${name} digest)
  string(SUBSTRING ${digest} 0 16 digest)
  string(REGEX REPLACE ".*\\." "" suffix ${name})
  set(path /page/${name})
  if(name STREQUAL "index.html")
    set(path /)
  endif()
  string(APPEND rows "    {\"${path}\", \"${type_${suffix}}\", \"\\\"${digest}\\\"\", {\"${bytes}\", ${size}}},\n")
endforeach()
file(WRITE ${OUT} "// Made from web/ by cmake/embed_page.cmake.
#include \"baltoro/server/page.h\"

namespace baltoro::server {
namespace {

constexpr PageFile kFiles[] = {
${rows}};

}  // namespace

std::span<const PageFile> page_files() { return kFiles; }

}  // namespace baltoro::server
")
