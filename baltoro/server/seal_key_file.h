// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "baltoro/base/result.h"
#include "baltoro/server/seal.h"

namespace baltoro::server {

// The key in that file, 64 hexadecimal digits. Where there is no such file, one with a new key is made, for its owner's
// eyes only. kInvalidArgument for a file that holds something else, kIo for one that cannot be read or made.
Result<Seal::Key> open_seal_key(const std::string& path);

}  // namespace baltoro::server
