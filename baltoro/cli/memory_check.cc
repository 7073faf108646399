// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/memory_check.h"

#include "baltoro/base/machine_memory.h"

namespace baltoro::cli {

Result<model::MemoryPlan> check_memory_of(const model::Weights& weights, const model::MemoryRequest& request,
                                          bool force) {
  BALTORO_TRY(const MachineMemory machine, machine_memory());
  BALTORO_TRY(const model::MemoryPlan plan, model::plan_memory(weights, request, machine));
  BALTORO_TRY_STATUS(model::check_memory(plan, force));
  return plan;
}

}  // namespace baltoro::cli
