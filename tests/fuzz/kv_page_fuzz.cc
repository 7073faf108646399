// SPDX-License-Identifier: Apache-2.0
// A hostile file in the KV directory: nothing but the page that is wanted is taken for it. The input is a whole file;
// one of 0 bytes less than a page, and the same changes laid over a sound page.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "baltoro/engine/kv_page.h"

namespace {

using namespace baltoro;
using namespace baltoro::engine;

constexpr std::size_t kBytes = 256;

void require(bool condition) {
  if (!condition) std::abort();
}

PageId wanted() {
  PageId id;
  id.index = 3;
  id.fingerprint.fill(1);
  id.key.fill(2);
  id.tokens.fill(9);
  return id;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  const std::size_t head = std::min(size, kPageHeaderBytes);
  const std::vector<std::byte> kv(kBytes, std::byte{5});
  const PageHeader header = make_page_header(wanted(), kv);
  const bool whole = size == kPageHeaderBytes + kBytes;
  const bool same = whole && std::equal(header.begin(), header.end(), input.begin()) &&
                    std::equal(kv.begin(), kv.end(), input.begin() + kPageHeaderBytes);
  require((check_page(input.first(head), input.subspan(head), kBytes, wanted()) == PageFault::kNone) == same);
  // Laid over a sound page: any bit that changes is found.
  std::vector<std::byte> page(header.begin(), header.end());
  page.insert(page.end(), kv.begin(), kv.end());
  bool changed = false;
  for (std::size_t i = 0; i < std::min(size, page.size()); ++i) {
    page[i] ^= input[i];
    changed |= input[i] != std::byte{0};
  }
  const auto fault =
      check_page(std::span(page).first(kPageHeaderBytes), std::span(page).subspan(kPageHeaderBytes), kBytes, wanted());
  require((fault == PageFault::kNone) == !changed);
  return 0;
}
