// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/model/decoder.h"

namespace baltoro::cli {

// One start: the folder is opened, decoder and cache are made (ready), a prompt runs to its first logits.
struct StartRun {
  double ready_seconds = 0;        // from nothing to the first step possible
  double first_token_seconds = 0;  // from nothing to the first logits
  double cached_before = 0;        // share of the checkpoint that the page cache held, 0 to 1
  double disk_bytes_per_s = 0;     // cold starts: measured right before, past the page cache; 0 where it cannot be
};

// Starts with the checkpoint in the page cache (warm) or as far dropped from it as the system allowed (cold).
struct StartRow {
  bool cold = false;
  std::int64_t prompt_tokens = 0;
  std::vector<StartRun> runs = {};        // in the order measured
  std::int64_t weight_bytes = 0;          // distinct weights that the prompt needs
  std::int64_t file_bytes = 0;            // of all shards
  std::int64_t resident_ready = 0;        // resident memory when ready
  std::int64_t resident_first_token = 0;  // and after the first token
  // Share of a run's first token that reading weight_bytes at the disk's rate takes (median); 0: unknown.
  double disk_share() const;
};

struct StartPlan {
  std::int64_t prompt_tokens = 32;
  int repeat = 3;
  bool cold = false;
  std::int64_t other_resident_bytes = 0;  // that this process holds besides, not counted
  model::DecoderOptions decoder = {};
};

// Nothing of the folder may be open in this process: mapped pages cannot be dropped. Warm starts read all files first.
Result<StartRow> measure_start(const std::string& dir, const StartPlan& plan);

// Reads every shard of the folder that is not cached, so that later figures are of memory and not of the disk.
Status warm_page_cache(const std::string& dir);

}  // namespace baltoro::cli
