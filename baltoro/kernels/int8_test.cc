// SPDX-License-Identifier: Apache-2.0
// The 8-bit kernels: the scalar ones against f64 with a computed bound, all others against scalar bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include "baltoro/kernels/fenced_weight.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/random_weights.h"
#include "baltoro/kernels/test_bounds.h"

namespace baltoro::kernels {
namespace {

using tensor::DType;
using tensor::MatrixView;
using tensor::WeightFormat;

// Exactly the bytes asked for, 64-byte aligned, so that one more shows under asan.
struct Aligned {
  explicit Aligned(std::int64_t count)
      : bytes(static_cast<std::byte*>(::operator new(static_cast<std::size_t>(count), std::align_val_t{64}))) {}
  ~Aligned() { ::operator delete(bytes, std::align_val_t{64}); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  std::byte* bytes;
};

// Activations and their 8-bit rows.
struct Rows {
  Rows(const Kernels& k, std::vector<float> values, std::int64_t count, std::int64_t width)
      : x(std::move(values)), cols(width), stride(int8_row_bytes(width)), packed(count * stride) {
    for (std::int64_t t = 0; t < count; ++t)
      k.quantize_row(x.data() + t * cols, packed.bytes + t * stride, 0, cols, cols);
  }
  LinearArgs<std::byte> args(float* y, std::int64_t ldy, std::int64_t tokens) const {
    return {.x = packed.bytes, .ldx = stride, .y = y, .ldy = ldy, .tokens = tokens};
  }
  std::vector<float> x;
  std::int64_t cols, stride;
  Aligned packed;
};

std::vector<float> random_values(std::int64_t count, std::mt19937_64& rng) {
  std::vector<float> x(static_cast<std::size_t>(count));
  for (float& value : x) value = random_float(rng);
  return x;
}

void call(const Kernels& k, const MatrixView& w, const LinearArgs<std::byte>& args, std::int64_t begin,
          std::int64_t end) {
  const Aligned scratch(linear_int8_scratch_bytes(w.cols));
  k.linear_int8(w, args, begin, end, scratch.bytes);
}

std::vector<float> whole(const Kernels& k, const MatrixView& w, const Rows& rows, std::int64_t tokens) {
  std::vector<float> y(static_cast<std::size_t>(tokens * w.rows), 7.0f);
  call(k, w, rows.args(y.data(), w.rows, tokens), 0, w.rows);
  return y;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<WeightKind> kinds() {
  return {{.format = WeightFormat::kInt4Group},
          {.format = WeightFormat::kInt4Group, .misalignment = 1},
          {.format = WeightFormat::kInt4Group, .scale_dtype = DType::kF16},
          {.format = WeightFormat::kInt4Group, .scale_dtype = DType::kF32, .misalignment = 2},
          {.format = WeightFormat::kInt4Group, .group = 64},
          {.format = WeightFormat::kInt4Group, .group = 128, .scale_dtype = DType::kF32},
          {.format = WeightFormat::kInt8Group},
          {.format = WeightFormat::kInt8Group, .misalignment = 3}};
}

std::int64_t fitting_cols(const WeightKind& kind, std::int64_t wanted) {
  if (kind.format == WeightFormat::kInt8Group) return wanted;
  return std::max<std::int64_t>(1, wanted / kind.group) * kind.group;
}

// What the description of quantize_row makes of x[c], in f64.
double rounded(const std::vector<float>& x, std::int64_t row_begin, std::int64_t cols, std::int64_t c) {
  const std::int64_t first = c / 32 * 32;
  float highest = 0;
  for (std::int64_t i = first; i < std::min(first + 32, cols); ++i) {
    highest = std::max(highest, std::fabs(x[static_cast<std::size_t>(row_begin + i)]));
  }
  if (highest < 0x1p-100f) return 0;
  const float code = std::nearbyint(x[static_cast<std::size_t>(row_begin + c)] * (127.0f / highest));
  return static_cast<double>(code) * static_cast<double>(highest / 127.0f);
}

// Two roundings of the scale, its product with the sum, and a chain of chunks with four levels of the tree.
TEST(Int8Scalar, IsWithinTheComputedBoundOfTheDescription) {
  std::mt19937_64 rng(7);
  for (const WeightKind& kind : kinds()) {
    for (const std::int64_t wanted : {1, 33, 200, 512, 513, 1100}) {
      const std::int64_t cols = fitting_cols(kind, wanted), rows = 5, tokens = 3;
      const auto weight = fenced_weight(kind, rows, cols, rng);
      const Rows x(kernels(Isa::kScalar), random_values(tokens * cols, rng), tokens, cols);
      const auto y = whole(kernels(Isa::kScalar), weight.view, x, tokens);
      const double roundings = 4 + static_cast<double>(cols / 512 + 1) + 4;
      for (std::int64_t t = 0; t < tokens; ++t) {
        for (std::int64_t r = 0; r < rows; ++r) {
          double sum = 0, size = 0;
          for (std::int64_t c = 0; c < cols; ++c) {
            const double product = rounded(x.x, t * cols, cols, c) * widen(tensor::matrix_element(weight.view, r, c));
            sum += product;
            size += std::fabs(product);
          }
          EXPECT_NEAR(widen(y[static_cast<std::size_t>(t * rows + r)]), sum, gamma(roundings) * size)
              << tensor::weight_format_name(kind.format) << " cols " << cols;
        }
      }
    }
  }
}

class Int8Test : public testing::TestWithParam<Isa> {
 protected:
  const Kernels& table() const { return kernels(GetParam()); }
  std::mt19937_64 rng{20261122};
};

TEST_P(Int8Test, RowsHaveTheBitsOfScalar) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (int trial = 0; trial < 200; ++trial) {
    const std::int64_t cols = trial < 4 ? 512 * (trial + 1) : 1 + random_below(rng, 1300);
    auto x = random_values(cols, rng);
    for (float& value : x) value = std::ldexp(value, static_cast<int>(rng() % 30) - 15);
    const auto any = [&]() -> float& { return x[static_cast<std::size_t>(random_below(rng, cols))]; };
    if (trial % 4 == 1) any() = trial % 8 == 1 ? inf : nan;
    if (trial % 5 == 1) any() = -std::numeric_limits<float>::max();
    if (trial % 5 == 2) std::fill(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(cols / 2), 0x1p-101f);
    if (trial % 5 == 3) std::fill(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(cols / 2), -0x1p-100f);
    if (trial % 5 == 4) {  // half way between two codes
      for (float& value : x) value = static_cast<float>(random_below(rng, 255) - 127) + 0.5f;
      for (std::size_t i = 0; i < x.size(); i += 32) x[i] = 127;
    }
    const Rows expected(kernels(Isa::kScalar), x, 1, cols);
    const Rows got(table(), x, 1, cols);
    ASSERT_EQ(std::memcmp(got.packed.bytes, expected.packed.bytes, static_cast<std::size_t>(got.stride)), 0)
        << "trial " << trial << " cols " << cols;
    const Aligned pieces(got.stride);
    for (std::int64_t begin = 0, end = 0; begin < cols; begin = end) {
      end = std::min(begin + 32 * (1 + random_below(rng, 6)), cols);
      table().quantize_row(x.data() + begin, pieces.bytes, begin, end, cols);
    }
    ASSERT_EQ(std::memcmp(pieces.bytes, expected.packed.bytes, static_cast<std::size_t>(got.stride)), 0)
        << "in pieces, trial " << trial << " cols " << cols;
  }
}

// Any tokens, order, row range, slice and scatter: every element has the bits of scalar's whole call.
TEST_P(Int8Test, EveryElementOfEveryCallHasTheBitsOfScalar) {
  const std::int64_t shapes[][2] = {{1, 32}, {9, 64}, {37, 160}, {71, 512}, {23, 1056}, {20, 2048}, {66, 333}};
  for (const WeightKind& kind : kinds()) {
    for (const auto& [weight_rows, wanted] : shapes) {
      constexpr std::int64_t kTokens = 55;
      const auto weight = fenced_weight(kind, weight_rows, fitting_cols(kind, wanted), rng);
      const MatrixView& w = weight.view;
      const Rows x(table(), random_values(kTokens * w.cols, rng), kTokens, w.cols);
      const auto expected = whole(kernels(Isa::kScalar), w, x, kTokens);
      ASSERT_TRUE(same_bits(whole(table(), w, x, kTokens), expected));
      for (int trial = 0; trial < 16; ++trial) {
        const std::int64_t tokens = trial < 8 ? trial + 1 : 1 + random_below(rng, kTokens);
        const std::int64_t first = random_below(rng, w.rows), end = first + 1 + random_below(rng, w.rows - first);
        std::vector<std::int32_t> x_rows(static_cast<std::size_t>(tokens)), y_rows(kTokens);
        for (auto& row : x_rows) row = static_cast<std::int32_t>(random_below(rng, kTokens));
        for (std::size_t i = 0; i < y_rows.size(); ++i) y_rows[i] = static_cast<std::int32_t>(i);
        std::shuffle(y_rows.begin(), y_rows.end(), rng);
        const bool sliced = trial % 2 == 1, weighted = trial % 3 == 2;
        const auto y_weights = random_values(tokens, rng);
        auto y = random_values(kTokens * w.rows, rng);
        auto wanted_y = y;
        LinearArgs<std::byte> args = x.args(y.data() + (sliced ? first : 0), w.rows, tokens);
        args.x_rows = x_rows.data();
        args.y_rows = y_rows.data();
        args.y_weights = weighted ? y_weights.data() : nullptr;
        call(table(), sliced ? w.row_slice(first, end - first) : w, args, sliced ? 0 : first,
             sliced ? end - first : end);
        for (std::int64_t t = 0; t < tokens; ++t) {
          const auto i = static_cast<std::size_t>(t);
          for (std::int64_t r = first; r < end; ++r) {
            const float dot = expected[static_cast<std::size_t>(x_rows[i] * w.rows + r)];
            float& element = wanted_y[static_cast<std::size_t>(y_rows[i] * w.rows + r)];
            element = weighted ? std::fma(y_weights[i], dot, element) : dot;
          }
        }
        ASSERT_TRUE(same_bits(y, wanted_y))
            << tensor::weight_format_name(kind.format) << " " << w.rows << "x" << w.cols << " tokens " << tokens
            << " rows [" << first << ", " << end << ") sliced " << sliced << " weighted " << weighted;
      }
    }
  }
}

// Where calls begin to be cut in another way: rows that fill the first cache or the second, and many tokens.
TEST_P(Int8Test, WideRowsAndManyTokensHaveTheBitsOfScalar) {
  const std::int64_t shapes[][3] = {{5, 7200, 2},  {5, 7200, 3},   {3, 7168, 4},
                                    {3, 7168, 57}, {18, 544, 127}, {35, 544, 130}};
  for (const WeightFormat format : {WeightFormat::kInt4Group, WeightFormat::kInt8Group}) {
    for (const auto& [rows, cols, tokens] : shapes) {
      const auto weight = fenced_weight({.format = format}, rows, cols, rng);
      const Rows x(table(), random_values(tokens * cols, rng), tokens, cols);
      EXPECT_TRUE(
          same_bits(whole(table(), weight.view, x, tokens), whole(kernels(Isa::kScalar), weight.view, x, tokens)))
          << tensor::weight_format_name(format) << " " << rows << "x" << cols << " tokens " << tokens;
    }
  }
}

// Sums of whole numbers that a saturating instruction would clip.
TEST_P(Int8Test, TheLargestCodesAreSummedExactly) {
  constexpr std::int64_t kCols = 1024, kRows = 4;
  for (const float sign : {1.0f, -1.0f}) {
    const Rows x(table(), std::vector<float>(kCols, 127 * sign), 1, kCols);
    for (const int nibble : {0, 15}) {
      std::vector<std::byte> data(kRows * kCols / 2, static_cast<std::byte>(nibble * 17));
      std::vector<bf16> scale(kRows * kCols / 32, tensor::f32_to_bf16(1.0f));
      const MatrixView w{.format = WeightFormat::kInt4Group,
                         .rows = kRows,
                         .cols = kCols,
                         .data = data.data(),
                         .scale = reinterpret_cast<const std::byte*>(scale.data()),
                         .group = 32};
      for (const float value : whole(table(), w, x, 1)) {
        EXPECT_EQ(value, 127 * sign * static_cast<float>(nibble - 8) * kCols);
      }
    }
    for (const int code : {1, 255}) {
      std::vector<std::byte> data(kRows * kCols, static_cast<std::byte>(code));
      std::vector<bf16> scale(kRows * kCols / 32, tensor::f32_to_bf16(1.0f));
      const MatrixView w{.format = WeightFormat::kInt8Group,
                         .rows = kRows,
                         .cols = kCols,
                         .data = data.data(),
                         .scale = reinterpret_cast<const std::byte*>(scale.data())};
      for (const float value : whole(table(), w, x, 1)) {
        EXPECT_EQ(value, 127 * sign * static_cast<float>(code - 128) * kCols);
      }
    }
  }
}

TEST_P(Int8Test, OnlyTheTokenWithANaNOrAnInfinityIsLost) {
  for (const WeightFormat format : {WeightFormat::kInt4Group, WeightFormat::kInt8Group}) {
    const auto weight = fenced_weight({.format = format}, 9, 544, rng);
    auto values = random_values(3 * 544, rng);
    const Rows good(table(), values, 3, 544);
    values[544 + 540] = std::numeric_limits<float>::infinity();
    const Rows bad(table(), values, 3, 544);
    const auto expected = whole(table(), weight.view, good, 3), got = whole(table(), weight.view, bad, 3);
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (i / 9 == 1) {
        EXPECT_TRUE(std::isnan(got[i]));
      } else {
        EXPECT_EQ(got[i], expected[i]);
      }
    }
  }
}

TEST_P(Int8Test, ZeroActivationsGiveZero) {
  for (const WeightFormat format : {WeightFormat::kInt4Group, WeightFormat::kInt8Group}) {
    const auto weight = fenced_weight({.format = format}, 9, 96, rng);
    const Rows x(table(), std::vector<float>(96, 0.0f), 1, 96);
    for (const float value : whole(table(), weight.view, x, 1)) EXPECT_EQ(value, 0.0f);
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, Int8Test, testing::ValuesIn(supported_isas()),
                         [](const auto& instance) { return std::string(isa_name(instance.param)); });

TEST(ReadsInt8, GroupsOf32AndOurOwnCopyOnly) {
  std::mt19937_64 rng(1);
  const auto reads = [&](const WeightKind& kind) { return reads_int8(random_weight(kind, 1, 96, rng).view); };
  EXPECT_TRUE(reads({.format = WeightFormat::kInt4Group}));
  EXPECT_TRUE(reads({.format = WeightFormat::kInt4Group, .group = 96}));
  EXPECT_TRUE(reads({.format = WeightFormat::kInt8Group}));
  EXPECT_FALSE(reads({.format = WeightFormat::kInt4Group, .group = 16}));
  EXPECT_FALSE(reads({.format = WeightFormat::kInt4Group, .group = 48}));
  EXPECT_FALSE(reads({.format = WeightFormat::kBF16}));
  EXPECT_FALSE(reads({.format = WeightFormat::kFp8Block}));
}

}  // namespace
}  // namespace baltoro::kernels
