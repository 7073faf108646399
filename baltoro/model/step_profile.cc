// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/step_profile.h"

#include <algorithm>

#include "baltoro/base/clock.h"

namespace baltoro::model {

void StepProfile::clear() { *this = StepProfile(); }

void StepProfile::begin_step(int threads) {
  busy_.resize(static_cast<std::size_t>(threads));
  step_start_ = steady_seconds();
}

void StepProfile::end_step() {
  seconds_ += steady_seconds() - step_start_;
  ++steps_;
}

void StepProfile::begin_region() {
  for (Busy& busy : busy_) busy.seconds = 0;
  region_start_ = steady_seconds();
}

void StepProfile::end_region(std::string_view name, double bytes, double flops) {
  const double seconds = steady_seconds() - region_start_;
  auto region = std::ranges::find(regions_, name, &RegionTime::name);
  if (region == regions_.end()) region = regions_.insert(region, {.name = name});
  ++region->calls;
  region->seconds += seconds;
  for (const Busy& busy : busy_) region->busy_seconds += busy.seconds;
  region->bytes += bytes;
  region->flops += flops;
}

}  // namespace baltoro::model
