// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "baltoro/base/result.h"

namespace baltoro {

// What the system keeps of a file in memory (the page cache), for measurements of cold and warm starts. Errors as
// open_regular; kIo where the system refuses a call.

// Bytes of the file that are cached, whole pages. Systems tell this to a file's owner only and others that all is.
Result<std::uint64_t> cached_bytes(const std::string& path);

// Asks the system to forget the file (posix_fadvise). It may not: pages that any process has mapped, or that are being
// written, stay. cached_bytes() says what became of it.
Status drop_from_page_cache(const std::string& path);

// Reads the whole file once, so that it is cached as far as memory allows.
Status read_through(const std::string& path);

}  // namespace baltoro
