// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <string>

#include "baltoro/base/check.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/tables.h"

namespace baltoro::kernels {
namespace {

constexpr Isa kWidestFirst[] = {Isa::kAvx512Bf16, Isa::kAvx512, Isa::kAvx2, Isa::kScalar};

std::string isa_names() {
  std::string names;
  for (const Isa isa : kWidestFirst) {
    if (!names.empty()) names += ", ";
    names += isa_name(isa);
    if (!isa_supported(isa)) names += " (not on this CPU)";
  }
  return names;
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512_bf16";
  }
  return "?";
}

bool isa_supported(Isa isa) {
  // The compiler's run-time library also asks the operating system (XCR0) before it reports vector extensions.
  __builtin_cpu_init();
  switch (isa) {
    case Isa::kScalar:
      return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
             __builtin_cpu_supports("f16c") != 0;
    case Isa::kAvx512:
      return isa_supported(Isa::kAvx2) && __builtin_cpu_supports("avx512f") != 0 &&
             __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
             __builtin_cpu_supports("avx512dq") != 0;
    case Isa::kAvx512Bf16:
      return isa_supported(Isa::kAvx512) && __builtin_cpu_supports("avx512bf16") != 0 &&
             __builtin_cpu_supports("avx512vbmi") != 0;
  }
  return false;
}

Result<Isa> choose_isa() {
  const char* wanted = std::getenv("BALTORO_ISA");  // NOLINT(concurrency-mt-unsafe): read once at start
  for (const Isa isa : kWidestFirst) {
    if (wanted == nullptr || *wanted == '\0') {
      if (isa_supported(isa)) return isa;
    } else if (std::string_view(wanted) == isa_name(isa)) {
      if (isa_supported(isa)) return isa;
      break;
    }
  }
  return Error{Errc::kUnsupported,
               "[kernels] BALTORO_ISA must be one of " + isa_names() + ", is \"" + std::string(wanted) + "\""};
}

const Kernels& kernels(Isa isa) {
  BALTORO_CHECK(isa_supported(isa), isa_name(isa));
  switch (isa) {
    case Isa::kScalar:
      break;
    case Isa::kAvx2:
      return avx2_kernels();
    case Isa::kAvx512:
      return avx512_kernels();
    case Isa::kAvx512Bf16:
      return avx512_bf16_kernels();
  }
  return scalar_kernels();
}

std::int64_t linear_scratch_bytes(std::int64_t rows, std::int64_t cols, std::int64_t tokens) {
  const std::int64_t panel = std::min(panel_rows(cols), round_up(rows, 8));
  const std::int64_t unpacked = panel * (scratch_row_floats(cols) + scratch_scale_floats(cols)) * 4;
  const std::int64_t pairs = std::min(tokens, dp_chunk_tokens(cols)) * dp_padded_cols(cols) * 2 +
                             dp_sums_bytes(tokens) + kDpRowBytes + 2 * kDpHeldRows * 64 +
                             kDpScaledRows * scratch_scale_floats(cols) * 4;
  const std::int64_t ordered = ordered_bytes(cols, tokens) + kOrderedRows * scratch_scale_floats(cols) * 4;
  return std::max({unpacked, pairs, ordered});
}

std::int64_t attend_scratch_floats(std::int64_t kv_dim) {
  const std::int64_t queries = kAttendLanes * round_up(kv_dim, 2), scores = kAttendLanes * kAttendStep;
  const std::int64_t rows = kAttendBlock * round_up(kv_dim, 16), slice = kAttendStep * 32;
  return queries + scores + rows + slice + 2 * kAttendLanes;
}

std::int64_t attend_stage_floats() { return kAttendLanes * kAttendPart + kAttendPart / kAttendStep * kAttendLanes; }

std::int64_t attend_state_floats(std::int64_t queries, std::int64_t rank) {
  return attend_lanes(queries) * (2 + round_up(rank, 32));
}

}  // namespace baltoro::kernels
