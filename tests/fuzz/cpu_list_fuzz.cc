// SPDX-License-Identifier: Apache-2.0
// Any text as a list of CPUs: never a crash; what is read is ascending, in range, and the same again from its own text.
#include <algorithm>
#include <cstdint>
#include <functional>
#include <string_view>

#include "baltoro/base/check.h"
#include "baltoro/base/cpu_list.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace baltoro;
  const auto cpus = parse_cpu_list({reinterpret_cast<const char*>(data), size});
  if (!cpus.ok()) {
    BALTORO_CHECK(cpus.error().code == Errc::kInvalidArgument, "a refusal says why");
    return 0;
  }
  BALTORO_CHECK(!cpus->empty() && cpus->front() >= 0 && cpus->back() < 65536, "CPUs in range");
  BALTORO_CHECK(std::ranges::is_sorted(*cpus, std::less_equal{}), "ascending, each once");
  const auto again = parse_cpu_list(cpu_list_text(*cpus));
  BALTORO_CHECK(again.ok() && *again == *cpus, "the same CPUs from their text");
  return 0;
}
