// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/memory_check.h"

#include <utility>

#include "baltoro/base/machine_memory.h"
#include "baltoro/model/streamed_weights.h"

namespace baltoro::cli {

Result<std::shared_ptr<const model::Weights>> open_weights_within(const std::string& dir, std::int64_t memory_bytes) {
  auto opened = memory_bytes == 0 ? model::open_weights(dir)
                                  : model::open_streamed_weights(dir, memory_bytes - model::kProcessBytes);
  if (!opened.ok()) return std::move(opened).error();
  return std::shared_ptr<const model::Weights>(*std::move(opened));
}

Result<model::MemoryPlan> check_memory_of(const model::Weights& weights, const model::MemoryRequest& request,
                                          bool force) {
  BALTORO_TRY(const MachineMemory machine, machine_memory());
  BALTORO_TRY(const model::MemoryPlan plan, model::plan_memory(weights, request, machine));
  BALTORO_TRY_STATUS(model::check_memory(plan, force));
  return plan;
}

}  // namespace baltoro::cli
