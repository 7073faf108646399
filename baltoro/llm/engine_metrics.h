// SPDX-License-Identifier: Apache-2.0
// The engine's counters under the names that operators see. Inside llm/ only.
#pragma once

#include <vector>

#include "baltoro/engine/engine.h"
#include "baltoro/llm/llm.h"

namespace baltoro::llm {

void add_engine_metrics(const engine::EngineStats& stats, BackendMetrics& metrics);
std::vector<BackendHistogram> engine_histograms(const engine::EngineStats& stats);

}  // namespace baltoro::llm
