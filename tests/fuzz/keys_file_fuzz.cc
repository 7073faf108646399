// SPDX-License-Identifier: Apache-2.0
// Any bytes as a keys file: an error or entries that are whole.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "baltoro/server/key_set.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto keys = baltoro::server::parse_keys({reinterpret_cast<const char*>(data), size});
  if (!keys.ok()) return 0;
  if (keys->empty()) std::abort();
  auto set = baltoro::server::KeySet::of(*keys);
  for (const auto& entry : *keys)
    if (entry.name.empty() || entry.name.size() > 64) std::abort();
  set.replace(*keys);
  if (set.open()) std::abort();
  return 0;
}
