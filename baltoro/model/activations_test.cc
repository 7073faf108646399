// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/activations.h"

#include <gtest/gtest.h>

#include "baltoro/kernels/kernels.h"

namespace baltoro::model {
namespace {

TEST(OperandRow, HoldsItsValuesAndSharesNoCacheSetsWithTheNext) {
  for (const std::int64_t n : {32, 160, 512, 1024, 1536, 2048, 7168, 8192, 18432}) {
    for (const Math math : {Math::kExact, Math::kF32, Math::kFast}) {
      const std::int64_t bytes = operand_row_bytes(math, n), elements = n * element_bytes(math);
      const std::int64_t least = math == Math::kFast ? elements + kernels::int8_row_bytes(n) : elements;
      EXPECT_GE(bytes, least) << math_name(math) << " " << n;
      EXPECT_LT(bytes, least + 128) << math_name(math) << " " << n;
      EXPECT_NE(bytes % kernels::kSameSetsBytes, 0) << math_name(math) << " " << n;
      EXPECT_EQ(bytes % element_bytes(math), 0) << math_name(math) << " " << n;
      if (math == Math::kFast) {
        EXPECT_EQ(bytes % 64, 0) << n;
      }
    }
  }
}

}  // namespace
}  // namespace baltoro::model
