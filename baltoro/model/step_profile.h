// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace baltoro::model {

// Rough work of one item of a region: what it reads of weights or cache, and its floating-point operations.
struct ItemWork {
  double bytes = 0;
  double flops = 0;
};

// What one named region of forward() took, over all its calls and layers.
struct RegionTime {
  std::string_view name;
  std::int64_t calls = 0;
  double seconds = 0;       // as the calling thread sees it
  double busy_seconds = 0;  // inside the region's body, all workers together: seconds * threads - this is waiting
  double bytes = 0;         // work, as the region was announced
  double flops = 0;
};

// Where the time of Decoder::forward goes. Give one to forward() and read it between steps; what lies in no region is
// seconds() less the sum of regions(). One thread.
class StepProfile {
 public:
  // Regions in the order of their first call.
  std::span<const RegionTime> regions() const { return regions_; }
  std::int64_t steps() const { return steps_; }
  double seconds() const { return seconds_; }  // in forward(), all steps
  int threads() const { return static_cast<int>(busy_.size()); }
  void clear();

  // For the decoder: once a step, and around each region. chunk() is called by any worker.
  void begin_step(int threads);
  void end_step();
  void begin_region();
  void chunk(int worker, double seconds) { busy_[static_cast<std::size_t>(worker)].seconds += seconds; }
  void end_region(std::string_view name, double bytes, double flops);

 private:
  struct alignas(64) Busy {
    double seconds = 0;
  };
  std::vector<RegionTime> regions_;
  std::vector<Busy> busy_;  // one per worker, of the region under way
  std::int64_t steps_ = 0;
  double seconds_ = 0, step_start_ = 0, region_start_ = 0;
};

}  // namespace baltoro::model
