// SPDX-License-Identifier: Apache-2.0
// A hostile file of kept turns: what is read writes back as the same bytes, and the input's own bytes as the payload of
// a record that is otherwise sound.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "baltoro/llm/turn_log.h"

namespace {

using namespace baltoro;

void require(bool condition) {
  if (!condition) std::abort();
}

void read_all(std::span<const std::byte> bytes) {
  for (;;) {
    const auto before = bytes;
    const auto kept = llm::decode_turn(bytes);
    if (!kept) break;
    const std::string again = llm::encode_turn(*kept);
    require(again.size() == before.size() - bytes.size());
    require(std::memcmp(again.data(), before.data(), again.size()) == 0);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  read_all(input);
  const auto length = static_cast<std::uint32_t>(size);
  const Sha256Digest digest = sha256(input);
  std::string record(reinterpret_cast<const char*>(&length), sizeof length);
  record.append(reinterpret_cast<const char*>(digest.data()), 16);
  record.append(reinterpret_cast<const char*>(data), size);
  read_all(std::as_bytes(std::span(record)));
  return 0;
}
