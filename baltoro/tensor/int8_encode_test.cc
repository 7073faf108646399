// SPDX-License-Identifier: Apache-2.0
#include "baltoro/tensor/int8_encode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "baltoro/tensor/int8_layout.h"
#include "baltoro/tensor/matrix_view.h"

namespace baltoro::tensor {
namespace {

struct Encoded {
  explicit Encoded(const std::vector<float>& x) {
    view = {.format = WeightFormat::kInt8Group, .rows = 1, .cols = static_cast<std::int64_t>(x.size())};
    data.resize(static_cast<std::size_t>(view.data_bytes()));
    scale.resize(static_cast<std::size_t>(view.scale_bytes()));
    view.data = data.data();
    view.scale = scale.data();
    ok = encode_int8(view, 0, x.data(), data.data(), scale.data());
  }
  MatrixView view;
  std::vector<std::byte> data, scale;
  bool ok = false;
};

TEST(Int8Layout, EveryColumnHasAByteOfItsOwn) {
  std::set<std::int64_t> places;
  for (std::int64_t c = 0; c < 2 * kInt8Chunk; ++c) {
    EXPECT_EQ(int8_place(c) / kInt8Chunk, c / kInt8Chunk);
    places.insert(int8_place(c));
  }
  EXPECT_EQ(places.size(), 2u * kInt8Chunk);
  EXPECT_EQ(*places.rbegin(), 2 * kInt8Chunk - 1);
}

TEST(Int8Layout, EveryElementOfABlockHasAByteOfItsOwnBesideItsRowsNeighbour) {
  std::set<std::int64_t> places;
  for (std::int64_t r = 0; r < kInt8GroupRows; ++r) {
    for (std::int64_t c = 0; c < kInt8BlockCols; ++c) places.insert(int8_block_place(r, c));
    EXPECT_EQ(int8_block_place(r + (r % 2 == 0), 3) - int8_block_place(r - r % 2, 3), 2);
  }
  EXPECT_EQ(std::ssize(places), kInt8BlockBytes);
  EXPECT_EQ(*places.rbegin(), kInt8BlockBytes - 1);
}

TEST(Int8Encode, AnElementIsWithinHalfAStepOfItsScale) {
  std::mt19937_64 rng(5);
  std::normal_distribution<float> normal;
  for (const std::size_t cols : {1u, 31u, 128u, 129u, 512u, 700u}) {
    std::vector<float> x(cols);
    for (float& value : x) value = normal(rng);
    const Encoded row(x);
    ASSERT_TRUE(row.ok);
    for (std::size_t c = 0; c < cols; ++c) {
      float highest = 0;
      for (std::size_t i = c / 32 * 32; i < std::min(cols, c / 32 * 32 + 32); ++i) {
        highest = std::max(highest, std::fabs(x[i]));
      }
      // Half a step; the scale's own rounding to BF16 (2^-9) may put the largest a quarter step out of reach.
      const float bound = highest / 127 * (0.5f + 0x1p-8f);
      EXPECT_NEAR(matrix_element(row.view, 0, static_cast<std::int64_t>(c)), x[c], bound) << cols << " " << c;
    }
    for (std::size_t c = cols; c < row.data.size(); ++c) {
      EXPECT_EQ(row.data[static_cast<std::size_t>(int8_place(static_cast<std::int64_t>(c)))], std::byte{128});
    }
  }
}

TEST(Int8Encode, WholeCodesAreKeptAsTheyAre) {
  std::vector<float> x(256);
  for (std::size_t c = 0; c < x.size(); ++c) x[c] = (static_cast<float>(c % 128) - 63) * 0.5f;
  for (std::size_t group = 0; group < x.size(); group += 32) x[group + 7] = group % 64 == 0 ? -63.5f : 63.5f;
  const Encoded row(x);
  ASSERT_TRUE(row.ok);
  std::vector<float> back(x.size());
  decode_int8_row(row.view.data, row.view.scale, row.view.cols, back.data());
  for (std::size_t c = 0; c < x.size(); ++c) {
    EXPECT_EQ(matrix_element(row.view, 0, static_cast<std::int64_t>(c)), x[c]) << c;
    EXPECT_EQ(back[c], x[c]) << c;
  }
}

TEST(Int8Encode, ZerosDenormalsAndWhatIsNotFinite) {
  std::vector<float> x(130, 0.0f);
  x[129] = std::numeric_limits<float>::denorm_min();
  const Encoded zero(x);
  ASSERT_TRUE(zero.ok);
  for (std::int64_t c = 0; c < 130; ++c) EXPECT_EQ(matrix_element(zero.view, 0, c), 0.0f);
  for (const float bad : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::quiet_NaN()}) {
    x[129] = bad;
    EXPECT_FALSE(Encoded(x).ok);
  }
  x[129] = std::numeric_limits<float>::max();
  const Encoded large(x);
  ASSERT_TRUE(large.ok);
  EXPECT_NEAR(matrix_element(large.view, 0, 129) / x[129], 1.0f, 0x1p-7f);
}

TEST(Int8Encode, ARowGroupHasItsScalesAlongTheRows) {
  std::mt19937_64 rng(6);
  std::normal_distribution<float> normal;
  for (const std::int64_t cols : {1, 15, 16, 100}) {
    MatrixView view{.format = WeightFormat::kInt8RowGroup, .rows = 64, .cols = cols};
    std::vector<float> x(static_cast<std::size_t>(64 * cols));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = normal(rng) * std::ldexp(1.0f, static_cast<int>(i % 7));
    std::vector<std::byte> data(static_cast<std::size_t>(view.data_bytes()));
    std::vector<std::byte> scale(static_cast<std::size_t>(view.scale_bytes()));
    view.data = data.data();
    view.scale = scale.data();
    for (std::int64_t group = 0; group < 2; ++group) {
      ASSERT_TRUE(encode_int8(view, group * 32, x.data() + group * 32 * cols, data.data(), scale.data()));
    }
    const MatrixView second = view.row_slice(32, 32);
    for (std::int64_t r = 0; r < 64; ++r) {
      for (std::int64_t c = 0; c < cols; ++c) {
        float highest = 0;
        for (std::int64_t i = r / 32 * 32; i < r / 32 * 32 + 32; ++i) {
          highest = std::max(highest, std::fabs(x[static_cast<std::size_t>(i * cols + c)]));
        }
        const float value = matrix_element(view, r, c);
        EXPECT_NEAR(value, x[static_cast<std::size_t>(r * cols + c)], highest / 127 * (0.5f + 0x1p-8f));
        if (r >= 32) {
          EXPECT_EQ(matrix_element(second, r - 32, c), value);
        }
      }
    }
    x.back() = std::numeric_limits<float>::infinity();
    EXPECT_FALSE(encode_int8(view, 32, x.data() + 32 * cols, data.data(), scale.data()));
  }
}

}  // namespace
}  // namespace baltoro::tensor
