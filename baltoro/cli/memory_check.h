// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "baltoro/base/result.h"
#include "baltoro/model/memory_plan.h"

namespace baltoro::cli {

// Refuses a run that cannot fit this machine now, with the plan's numbers: see model::check_memory. `force` lets it
// pass. The plan says how large the expert cache is to be.
Result<model::MemoryPlan> check_memory_of(const model::Weights& weights, const model::MemoryRequest& request,
                                          bool force);

}  // namespace baltoro::cli
