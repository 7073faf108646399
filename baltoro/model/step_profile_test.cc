// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/step_profile.h"

#include <gtest/gtest.h>

#include "baltoro/base/clock.h"

namespace baltoro::model {
namespace {

void wait(double seconds) {
  const double start = steady_seconds();
  while (steady_seconds() - start < seconds) {
  }
}

TEST(StepProfile, RegionsOfOneNameAreAddedUp) {
  StepProfile profile;
  profile.begin_step(2);
  for (const std::string_view name : {"a", "b", "a"}) {
    profile.begin_region();
    wait(1e-3);
    profile.chunk(0, 1e-3);
    profile.chunk(1, 0.25e-3);
    profile.end_region(name, 10, 20);
  }
  profile.end_step();
  ASSERT_EQ(profile.regions().size(), 2u);
  const RegionTime& a = profile.regions()[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.calls, 2);
  EXPECT_GE(a.seconds, 2e-3);
  EXPECT_NEAR(a.busy_seconds, 2.5e-3, 1e-9);
  EXPECT_EQ(a.bytes, 20);
  EXPECT_EQ(a.flops, 40);
  EXPECT_EQ(profile.steps(), 1);
  EXPECT_GE(profile.seconds(), a.seconds + profile.regions()[1].seconds);
  profile.clear();
  EXPECT_TRUE(profile.regions().empty());
  EXPECT_EQ(profile.seconds(), 0);
}

}  // namespace
}  // namespace baltoro::model
