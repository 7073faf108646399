// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "baltoro/base/result.h"
#include "baltoro/model/memory_plan.h"

namespace baltoro::cli {

// Opens a folder's weights: mapped, or with memory_bytes > 0 so that a run can keep within that, see
// model::open_streamed_weights.
Result<std::shared_ptr<const model::Weights>> open_weights_within(const std::string& dir, std::int64_t memory_bytes);

// Refuses a run that cannot fit this machine now, with the plan's numbers: see model::check_memory. `force` lets it
// pass. The plan says how large the expert cache is to be.
Result<model::MemoryPlan> check_memory_of(const model::Weights& weights, const model::MemoryRequest& request,
                                          bool force);

}  // namespace baltoro::cli
