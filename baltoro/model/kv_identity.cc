// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/kv_identity.h"

#include <fmt/core.h>
#include <gnu/libc-version.h>

#include <fstream>
#include <span>
#include <string>

#include "baltoro/kernels/kernels.h"
#include "baltoro/model/weights_identity.h"

namespace baltoro::model {
namespace {

// The lines that tell one kind of processor from another; the first processor stands for all.
std::string processor() {
  std::ifstream file("/proc/cpuinfo");
  std::string kind;
  for (std::string line; std::getline(file, line) && !line.empty();)
    for (const char* name : {"vendor_id", "cpu family", "model\t", "model name", "stepping", "flags", "Features"})
      if (line.starts_with(name)) kind += line + "\n";
  return kind;
}

}  // namespace

Result<Sha256Digest> kv_identity(const std::string& dir, Math math, DenseWeights dense, LatentNormEps eps) {
  BALTORO_TRY(const Sha256Digest weights, weights_identity(dir));
  BALTORO_TRY(const kernels::Isa isa, kernels::choose_isa());
  const std::string rest = fmt::format("revision {} math {} dense {} eps {} isa {} compiler {} libc {}\n{}",
                                       kArithmeticRevision, math_name(math), dense_name(dense), static_cast<int>(eps),
                                       kernels::isa_name(isa), __VERSION__, gnu_get_libc_version(), processor());
  Sha256 hash;
  hash.update(std::as_bytes(std::span(weights)));
  hash.update(std::as_bytes(std::span(rest)));
  return hash.finish();
}

}  // namespace baltoro::model
