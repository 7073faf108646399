// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/round_up.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace baltoro {
namespace {

TEST(Rounding, ToTheNextMultiple) {
  for (const std::int64_t unit : {1, 3, 4096}) {
    for (std::int64_t n = 0; n < 3 * unit; ++n) {
      const std::int64_t down = round_down(n, unit), up = round_up(n, unit);
      EXPECT_TRUE(down % unit == 0 && down <= n && n - down < unit) << n << " by " << unit;
      EXPECT_TRUE(up % unit == 0 && up >= n && up - n < unit) << n << " by " << unit;
    }
  }
  EXPECT_EQ(round_up(std::uintptr_t{1} << 63, 4096), std::uintptr_t{1} << 63);
}

}  // namespace
}  // namespace baltoro
