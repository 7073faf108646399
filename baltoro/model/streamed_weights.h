// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "baltoro/base/huge_pages.h"
#include "baltoro/base/progress.h"
#include "baltoro/base/result.h"
#include "baltoro/model/file_ranges.h"
#include "baltoro/model/weights.h"

namespace baltoro::model {

// Where an expert lies on disk: data and scale of gate, up and down, in that order.
struct ExpertRanges {
  std::array<FileRange, 6> ranges;
};

// What a checkpoint opened without mapping its files knows beside its views.
struct StreamedWeights {
  std::vector<std::string> paths;                  // of the files that ranges name
  std::vector<std::vector<ExpertRanges>> experts;  // [L][E]; empty for dense layers
  std::optional<HugeBuffer> resident;              // all other weights
};

// Opens a released folder to be run in bounded memory: as open_weights, but no file is mapped. All weights but the
// routed experts are read into memory at once; the experts' views have shapes and formats and no data until an
// ExpertCache brings it. The errors of open_weights; kResourceExhausted when the resident weights exceed `limit_bytes`.
Result<std::unique_ptr<const Weights>> open_streamed_weights(const std::string& dir, std::int64_t limit_bytes,
                                                             ProgressStyle progress = ProgressStyle::kAuto);

// Opens a released folder for a run: mapped, or with memory_bytes > 0 so that the process can keep within that, see
// open_streamed_weights and kProcessBytes.
Result<std::shared_ptr<const Weights>> open_weights_within(const std::string& dir, std::int64_t memory_bytes);

}  // namespace baltoro::model
