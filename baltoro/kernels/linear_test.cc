// SPDX-License-Identifier: Apache-2.0
// Every linear kernel of every instruction set against an f64 loop over tensor::matrix_element, with bounds computed
// from the number of roundings; and the invariance rule, bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <numeric>
#include <string>
#include <vector>

#include "baltoro/base/round_up.h"
#include "baltoro/kernels/fenced_weight.h"
#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/random_weights.h"
#include "baltoro/kernels/test_bounds.h"

namespace baltoro::kernels {
namespace {

using tensor::DType;
using tensor::MatrixView;
using tensor::WeightFormat;

// Exactly the bytes that the room asks for, so that one more shows under asan.
struct Scratch {
  Scratch(const MatrixView& w, std::int64_t tokens)
      : bytes(::operator new(static_cast<std::size_t>(linear_scratch_bytes(w.rows, w.cols, tokens)),
                             std::align_val_t{64})) {}
  ~Scratch() { ::operator delete(bytes, std::align_val_t{64}); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::byte* data() { return static_cast<std::byte*>(bytes); }
  void* bytes;
};

template <typename X>
std::vector<X> random_x(std::int64_t count, std::mt19937_64& rng) {
  std::vector<X> x(static_cast<std::size_t>(count));
  for (X& value : x) narrow(random_float(rng), value);
  return x;
}

template <typename X>
void call(const Kernels& k, const MatrixView& w, const LinearArgs<X>& args, std::int64_t begin, std::int64_t end) {
  Scratch scratch(w, args.tokens);
  if constexpr (sizeof(X) == 2) {
    k.linear_bf16(w, args, begin, end, scratch.data());
  } else {
    k.linear_f32(w, args, begin, end, scratch.data());
  }
}

template <typename X>
void call_transposed(const Kernels& k, const MatrixView& w, const LinearArgs<X>& args) {
  Scratch scratch(w, args.tokens);
  if constexpr (sizeof(X) == 2) {
    k.linear_transposed_bf16(w, args, scratch.data());
  } else {
    k.linear_transposed_f32(w, args, scratch.data());
  }
}

std::string kind_name(const WeightKind& kind) {
  std::string name = tensor::weight_format_name(kind.format);
  if (kind.format == WeightFormat::kInt4Group) {
    name.append("_g").append(std::to_string(kind.group)).append("_").append(tensor::dtype_name(kind.scale_dtype));
  }
  if (kind.format == WeightFormat::kFp8Block) {
    name.append("_").append(std::to_string(kind.block_rows)).append("x").append(std::to_string(kind.block_cols));
  }
  return name;
}

std::vector<WeightKind> kinds() {
  return {{.format = WeightFormat::kF32},
          {.format = WeightFormat::kF32, .misalignment = 1},
          {.format = WeightFormat::kBF16},
          {.format = WeightFormat::kBF16, .misalignment = 1},
          {.format = WeightFormat::kF16, .misalignment = 1},
          {.format = WeightFormat::kFp8Block, .misalignment = 3},
          {.format = WeightFormat::kFp8Block, .block_rows = 16, .block_cols = 32},
          {.format = WeightFormat::kFp8Block, .block_rows = 5, .block_cols = 9, .misalignment = 1},
          {.format = WeightFormat::kInt4Group, .misalignment = 1},
          {.format = WeightFormat::kInt4Group, .scale_dtype = DType::kF16},
          {.format = WeightFormat::kInt4Group, .scale_dtype = DType::kF32, .misalignment = 2},
          {.format = WeightFormat::kInt4Group, .group = 2},
          {.format = WeightFormat::kInt4Group, .group = 16},
          {.format = WeightFormat::kInt4Group, .group = 64},
          {.format = WeightFormat::kInt4Group, .group = 128, .scale_dtype = DType::kF32},
          {.format = WeightFormat::kInt4Group, .group = 48},
          {.format = WeightFormat::kInt8Group},
          {.format = WeightFormat::kInt8Group, .misalignment = 1},
          {.format = WeightFormat::kInt8RowGroup},
          {.format = WeightFormat::kInt8RowGroup, .misalignment = 1}};
}

// A number of rows that the kind allows, at least `wanted`.
std::int64_t fitting_rows(const WeightKind& kind, std::int64_t wanted) {
  return kind.format == WeightFormat::kInt8RowGroup ? round_up(wanted, tensor::kInt8GroupRows) : wanted;
}

// A number of columns that the kind allows, near `wanted`.
std::int64_t fitting_cols(const WeightKind& kind, std::int64_t wanted) {
  if (kind.format != WeightFormat::kInt4Group) return wanted;
  return std::max<std::int64_t>(1, wanted / kind.group) * kind.group;
}

TEST(LinearScratch, NeverShrinksWithTokensOrRows) {
  for (const std::int64_t cols : {1, 64, 576, 2048, 7168, 7680, 18432}) {
    std::int64_t fewer_tokens = 0;
    for (std::int64_t tokens = 1; tokens <= 600; ++tokens) {
      std::int64_t fewer_rows = 0;
      for (const std::int64_t rows : {1, 8, 63, 64, 65, 4096}) {
        const std::int64_t bytes = linear_scratch_bytes(rows, cols, tokens);
        EXPECT_GE(bytes, fewer_rows) << rows << " rows, " << cols << " columns, " << tokens << " tokens";
        fewer_rows = bytes;
      }
      EXPECT_GE(fewer_rows, fewer_tokens) << cols << " columns, " << tokens << " tokens";
      fewer_tokens = fewer_rows;
    }
  }
}

struct Case {
  Isa isa;
  WeightKind kind;
};

class LinearTest : public testing::TestWithParam<Case> {
 protected:
  const Kernels& table() const { return kernels(GetParam().isa); }
  const WeightKind& kind() const { return GetParam().kind; }
  void note(const char* name, double ratio) { RecordProperty(name, std::to_string(ratio)); }
  std::mt19937_64 rng{20261121};
};

// What an offset of the codes of columns [32 i, 32 i + 32) may weigh: four times the largest of these elements, as one
// of the codes is at least a quarter of it.
std::vector<double> offset_sizes(const MatrixView& w, std::int64_t r) {
  std::vector<double> sizes;
  for (std::int64_t c = 0; c < w.cols; ++c) {
    if (c % 32 == 0) sizes.push_back(0);
    sizes.back() = std::max(sizes.back(), 4 * std::fabs(widen(tensor::matrix_element(w, r, c))));
  }
  return sizes;
}

// Largest |y - truth| / bound over all elements.
template <typename X>
double worst_ratio(const Kernels& k, const MatrixView& w, std::int64_t tokens, std::mt19937_64& rng) {
  const std::int64_t ldx = w.cols + 3;
  const std::int64_t ldy = w.rows + 2;
  const auto x = random_x<X>(tokens * ldx, rng);
  std::vector<float> y(static_cast<std::size_t>(tokens * ldy), 7.0f);
  call<X>(k, w, {.x = x.data(), .ldx = ldx, .y = y.data(), .ldy = ldy, .tokens = tokens}, 0, w.rows);
  double worst = 0;
  const bool offset = k.isa == Isa::kAvx2 && sizeof(X) == sizeof(bf16) &&
                      (w.format == WeightFormat::kInt4Group || w.format == WeightFormat::kInt8Group);
  for (std::int64_t r = 0; r < w.rows; ++r) {
    const std::vector<double> offsets = offset_sizes(w, r);
    for (std::int64_t t = 0; t < tokens; ++t) {
      double sum = 0;
      double size = 0;
      for (std::int64_t c = 0; c < w.cols; ++c) {
        const double value = widen(x[static_cast<std::size_t>(t * ldx + c)]);
        const double product = value * widen(tensor::matrix_element(w, r, c));
        sum += product;
        size += std::fabs(product);
        if (offset) size += std::fabs(value) * offsets[static_cast<std::size_t>(c / 32)];
      }
      const bool coded = w.format == WeightFormat::kFp8Block || w.format == WeightFormat::kInt4Group;
      const double bound = gamma(dot_roundings(k.isa, sizeof(X), w.cols, coded || offset)) * size +
                           8 * kFlush * static_cast<double>(w.cols);
      worst = std::max(worst, std::fabs(widen(y[static_cast<std::size_t>(t * ldy + r)]) - sum) / bound);
    }
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t c = w.rows; c < ldy; ++c) EXPECT_EQ(y[static_cast<std::size_t>(t * ldy + c)], 7.0f);
    }
  }
  return worst;
}

TEST_P(LinearTest, WithinTheComputedBound) {
  double worst_bf16 = 0;
  double worst_f32 = 0;
  const std::int64_t shapes[][3] = {{1, 1, 1},     {3, 2, 5},      {1, 7, 31},    {2, 9, 32},    {5, 8, 33},
                                    {17, 13, 47},  {4, 66, 64},    {6, 70, 96},   {16, 5, 257},  {1, 17, 1024},
                                    {8, 3, 515},   {7, 129, 288},  {9, 49, 1551}, {8, 53, 2600}, {5, 50, 4150},
                                    {9, 52, 2600}, {20, 50, 2100}, {21, 53, 2100}};
  for (const auto& [tokens, rows, wanted] : shapes) {
    const auto weight = fenced_weight(kind(), fitting_rows(kind(), rows), fitting_cols(kind(), wanted), rng);
    worst_bf16 = std::max(worst_bf16, worst_ratio<bf16>(table(), weight.view, tokens, rng));
    worst_f32 = std::max(worst_f32, worst_ratio<float>(table(), weight.view, tokens, rng));
  }
  for (int trial = 0; trial < 40; ++trial) {
    const std::int64_t rows = 1 + random_below(rng, 40);
    const std::int64_t tokens = 1 + random_below(rng, trial % 8 == 0 ? 70 : 17);
    const auto weight =
        fenced_weight(kind(), fitting_rows(kind(), rows), fitting_cols(kind(), 1 + random_below(rng, 200)), rng);
    worst_bf16 = std::max(worst_bf16, worst_ratio<bf16>(table(), weight.view, tokens, rng));
    worst_f32 = std::max(worst_f32, worst_ratio<float>(table(), weight.view, tokens, rng));
  }
  note("linear_bf16", worst_bf16);
  note("linear_f32", worst_f32);
  EXPECT_LE(worst_bf16, 1);
  EXPECT_LE(worst_f32, 1);
}

// Any token subset, order, row range, slice and scatter of `all` tokens gives the bits of the whole call.
template <typename X>
void check_invariance(const Kernels& k, const MatrixView& w, std::int64_t all, std::mt19937_64& rng) {
  const auto x = random_x<X>(all * w.cols, rng);
  std::vector<float> whole(static_cast<std::size_t>(all * w.rows));
  call<X>(k, w, {.x = x.data(), .ldx = w.cols, .y = whole.data(), .ldy = w.rows, .tokens = all}, 0, w.rows);
  for (int trial = 0; trial < 24; ++trial) {
    const std::int64_t tokens = trial < 8 ? trial + 1 : 1 + random_below(rng, all);
    const std::int64_t first = random_below(rng, w.rows);
    const std::int64_t end = first + 1 + random_below(rng, w.rows - first);
    std::vector<std::int32_t> x_rows(static_cast<std::size_t>(tokens));
    for (auto& row : x_rows) row = static_cast<std::int32_t>(random_below(rng, all));
    const bool in_place = trial % 4 >= 2;
    if (in_place)
      std::iota(x_rows.begin(), x_rows.end(), static_cast<std::int32_t>(random_below(rng, all - tokens + 1)));
    std::vector<std::int32_t> y_rows(static_cast<std::size_t>(all));
    for (std::size_t i = 0; i < y_rows.size(); ++i) y_rows[i] = static_cast<std::int32_t>(i);
    std::shuffle(y_rows.begin(), y_rows.end(), rng);
    const bool sliced = trial % 2 == 1 && w.format != WeightFormat::kInt8RowGroup;  // which has whole groups
    const bool weighted = trial % 3 == 2;
    std::vector<float> y = random_x<float>(all * w.rows, rng);
    const std::vector<float> before = y;
    const std::vector<float> y_weights = random_x<float>(tokens, rng);
    LinearArgs<X> args{.x = x.data(), .ldx = w.cols, .x_rows = x_rows.data(), .y = y.data(), .ldy = w.rows};
    if (in_place) {
      args.x += x_rows[0] * w.cols;
      args.x_rows = nullptr;
    }
    args.y_rows = y_rows.data();
    args.y_weights = weighted ? y_weights.data() : nullptr;
    args.tokens = tokens;
    const MatrixView part = sliced ? w.row_slice(first, end - first) : w;
    if (sliced) args.y += first;
    call<X>(k, part, args, sliced ? 0 : first, sliced ? end - first : end);
    std::vector<float> expected = before;
    for (std::int64_t t = 0; t < tokens; ++t) {
      const auto i = static_cast<std::size_t>(t);
      for (std::int64_t r = first; r < end; ++r) {
        const float dot = whole[static_cast<std::size_t>(x_rows[i] * w.rows + r)];
        float& element = expected[static_cast<std::size_t>(y_rows[i] * w.rows + r)];
        element = weighted ? element + y_weights[i] * dot : dot;
      }
    }
    ASSERT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0)
        << "tokens " << tokens << " rows [" << first << ", " << end << ") sliced " << sliced << " weighted " << weighted
        << " in place " << in_place;
  }
}

TEST_P(LinearTest, EveryElementHasTheSameBitsInEveryCall) {
  // 67 tokens: enough for every way to cut them into tiles. 97 and 131 are cut into chunks: of several panels and runs,
  // and of rows of 2,048, which share cache sets. 1,536 columns are the most of one run. Few BF16 tokens meet two rows
  // of 1,000 columns at a time, and of 8,200 one or four; five to nine tokens meet 4,200 columns run by run as one
  // tile, up to 20 and more meet 2,600 as several.
  const std::int64_t shapes[][3] = {{67, 1, 64},    {67, 37, 160},   {67, 71, 333},  {67, 130, 96},
                                    {67, 20, 1111}, {97, 101, 1111}, {131, 6, 2048}, {50, 55, 1536},
                                    {9, 35, 1000},  {9, 11, 8200},   {9, 53, 4200},  {26, 50, 2600}};
  for (const auto& [tokens, rows, wanted] : shapes) {
    const auto weight = fenced_weight(kind(), fitting_rows(kind(), rows), fitting_cols(kind(), wanted), rng);
    check_invariance<bf16>(table(), weight.view, tokens, rng);
    check_invariance<float>(table(), weight.view, tokens, rng);
  }
}

template <typename X>
double worst_transposed_ratio(const Kernels& k, const MatrixView& w, std::int64_t tokens, std::mt19937_64& rng) {
  const auto x = random_x<X>(tokens * w.rows, rng);
  std::vector<float> y(static_cast<std::size_t>(tokens * w.cols));
  call_transposed<X>(k, w, {.x = x.data(), .ldx = w.rows, .y = y.data(), .ldy = w.cols, .tokens = tokens});
  double worst = 0;
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t c = 0; c < w.cols; ++c) {
      double sum = 0;
      double size = 0;
      for (std::int64_t r = 0; r < w.rows; ++r) {
        const double product =
            widen(x[static_cast<std::size_t>(t * w.rows + r)]) * widen(tensor::matrix_element(w, r, c));
        sum += product;
        size += std::fabs(product);
      }
      const double bound = gamma(static_cast<double>(w.rows) + 2) * size + kFlush;
      worst = std::max(worst, std::fabs(widen(y[static_cast<std::size_t>(t * w.cols + c)]) - sum) / bound);
    }
  }
  // Each token alone, and a gathered pair in the other order, give the same bits.
  for (std::int64_t t = 0; t < tokens; ++t) {
    const std::int32_t rows[] = {static_cast<std::int32_t>(t), static_cast<std::int32_t>((t + 1) % tokens)};
    std::vector<float> pair(static_cast<std::size_t>(2 * w.cols));
    call_transposed<X>(
        k, w, {.x = x.data(), .ldx = w.rows, .x_rows = rows, .y = pair.data(), .ldy = w.cols, .tokens = 1 + t % 2});
    EXPECT_EQ(std::memcmp(pair.data(), y.data() + t * w.cols, static_cast<std::size_t>(w.cols) * 4), 0);
  }
  return worst;
}

TEST_P(LinearTest, TransposedWithinTheComputedBoundAndInvariant) {
  double worst = 0;
  const std::int64_t shapes[][3] = {{1, 1, 1},     {2, 7, 33},   {5, 16, 64},   {9, 31, 130},
                                    {1, 128, 512}, {4, 40, 517}, {19, 128, 96}, {3, 300, 64},
                                    {6, 24, 544},  {8, 18, 64},  {12, 128, 96}, {16, 20, 600}};
  for (const auto& [tokens, rows, wanted] : shapes) {
    const std::int64_t before = fitting_rows(kind(), 3), count = fitting_rows(kind(), rows);
    const auto weight = fenced_weight(kind(), before + count, fitting_cols(kind(), wanted), rng);
    const MatrixView slice = weight.view.row_slice(before, count);
    worst = std::max(worst, worst_transposed_ratio<bf16>(table(), slice, tokens, rng));
    worst = std::max(worst, worst_transposed_ratio<float>(table(), slice, tokens, rng));
  }
  note("linear_transposed", worst);
  EXPECT_LE(worst, 1);
}

TEST_P(LinearTest, CopyRowIsExact) {
  for (const std::int64_t wanted : {1, 31, 64, 300}) {
    const std::int64_t before = fitting_rows(kind(), 1);
    const auto weight = fenced_weight(kind(), before + fitting_rows(kind(), 5), fitting_cols(kind(), wanted), rng);
    const MatrixView slice = weight.view.row_slice(before, fitting_rows(kind(), 5));
    std::vector<float> y(static_cast<std::size_t>(slice.cols));
    for (std::int64_t r = 0; r < slice.rows; ++r) {
      table().copy_row(slice, r, y.data());
      for (std::int64_t c = 0; c < slice.cols; ++c) {
        ASSERT_EQ(y[static_cast<std::size_t>(c)], tensor::matrix_element(slice, r, c)) << r << "," << c;
      }
    }
  }
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Isa isa : supported_isas()) {
    for (const WeightKind& kind : kinds()) all.push_back({isa, kind});
  }
  return all;
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  std::string name = isa_name(info.param.isa);
  name.append("_").append(kind_name(info.param.kind));
  if (info.param.kind.misalignment != 0) name.append("_misaligned");
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, LinearTest, testing::ValuesIn(cases()), case_name);

class IsaTest : public testing::TestWithParam<Isa> {};

// Each code of a one-element dot, so every table entry and every bit trick is exact, NaN included.
TEST_P(IsaTest, EveryF8CodeIsExact) {
  const float one = 1;
  for (int code = 0; code < 256; ++code) {
    for (const std::int64_t tokens : {1, 9}) {  // from the codes, and unpacked
      const std::vector<std::byte> data(64, static_cast<std::byte>(code));
      MatrixView w{.format = WeightFormat::kFp8Block, .rows = 1, .cols = 64, .data = data.data()};
      w.scale = reinterpret_cast<const std::byte*>(&one);
      w.block_rows = w.block_cols = 128;
      std::vector<bf16> x(static_cast<std::size_t>(tokens) * 64);
      for (std::int64_t t = 0; t < tokens; ++t) x[static_cast<std::size_t>(t * 64 + code % 64)] = 0x3F80;  // 1
      std::vector<float> y(static_cast<std::size_t>(tokens));
      call<bf16>(kernels(GetParam()), w, {.x = x.data(), .ldx = 64, .y = y.data(), .ldy = 1, .tokens = tokens}, 0, 1);
      const float value = tensor::f8e4m3_to_f32(static_cast<std::uint8_t>(code));
      for (const float dot : y) {
        if (std::isnan(value)) {
          EXPECT_TRUE(std::isnan(dot)) << code;
        } else {
          EXPECT_EQ(dot, value) << code;
        }
      }
    }
  }
}

// More tokens than activations are packed of at once, and a long row: each token alone gives the same bits.
TEST_P(IsaTest, ChunksOfTokensChangeNothing) {
  std::mt19937_64 rng(7);
  constexpr std::int64_t kTokens = 53;
  constexpr std::int64_t kCols = 44032;
  const auto x = random_x<bf16>(kTokens * kCols, rng);
  for (const WeightFormat format : {WeightFormat::kBF16, WeightFormat::kInt4Group, WeightFormat::kFp8Block}) {
    const auto weight = fenced_weight({.format = format}, 3, kCols, rng);
    std::vector<float> whole(kTokens * 3);
    LinearArgs<bf16> args{.x = x.data(), .ldx = kCols, .y = whole.data(), .ldy = 3, .tokens = kTokens};
    call<bf16>(kernels(GetParam()), weight.view, args, 0, 3);
    for (const std::int32_t t : {0, 1, 26, 46, 47, 48, 52}) {
      float alone[3] = {};
      call<bf16>(kernels(GetParam()), weight.view,
                 {.x = x.data(), .ldx = kCols, .x_rows = &t, .y = alone, .ldy = 3, .tokens = 1}, 0, 3);
      EXPECT_EQ(std::memcmp(alone, whole.data() + 3 * t, sizeof alone), 0) << t;
    }
  }
}

// Activations that VDPBF16PS takes for zero cost no more than their own size.
TEST_P(IsaTest, DenormalActivationsStayWithinTheFlushBound) {
  std::mt19937_64 rng(5);
  const auto weight = fenced_weight({.format = WeightFormat::kBF16}, 3, 100, rng);
  std::vector<bf16> x(100);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<bf16>(i % 2 == 0 ? 0x0001 + i : 0x8040);
  std::vector<float> y(3);
  call<bf16>(kernels(GetParam()), weight.view, {.x = x.data(), .ldx = 100, .y = y.data(), .ldy = 3, .tokens = 1}, 0, 3);
  for (std::int64_t r = 0; r < 3; ++r) {
    double sum = 0;
    double lost = 0;
    for (std::int64_t c = 0; c < 100; ++c) {
      const double w = tensor::matrix_element(weight.view, r, c);
      sum += w * widen(x[static_cast<std::size_t>(c)]);
      lost += std::fabs(w) * kFlush + 2 * kFlush;
    }
    EXPECT_LE(std::fabs(widen(y[static_cast<std::size_t>(r)]) - sum), lost);
  }
}

// INT4 weights are used unrounded: q * scale with a scale whose product needs more than BF16's eight bits.
TEST_P(IsaTest, Int4ProductsAreNotRoundedToBf16) {
  const float scale = 1.00390625f * 0.0078125f;            // 257/256, exact in F32 only
  const std::vector<std::byte> data(16, std::byte{0xFF});  // q = 7
  const std::vector<float> scales(1, scale);
  MatrixView w{.format = WeightFormat::kInt4Group, .rows = 1, .cols = 32, .data = data.data()};
  w.scale = reinterpret_cast<const std::byte*>(scales.data());
  w.scale_dtype = DType::kF32;
  w.group = 32;
  std::vector<bf16> x(32);
  x[5] = 0x3F80;
  float y = 0;
  call<bf16>(kernels(GetParam()), w, {.x = x.data(), .ldx = 32, .y = &y, .ldy = 1, .tokens = 1}, 0, 1);
  EXPECT_EQ(y, 7 * scale);
}

TEST_P(IsaTest, NoTokensOrNoRowsWriteNothing) {
  std::mt19937_64 rng(6);
  const auto weight = fenced_weight({.format = WeightFormat::kInt4Group}, 4, 64, rng);
  const std::vector<bf16> x(64);
  float y = 3;
  call<bf16>(kernels(GetParam()), weight.view, {.x = x.data(), .ldx = 64, .y = &y, .ldy = 4, .tokens = 0}, 0, 4);
  call<bf16>(kernels(GetParam()), weight.view, {.x = x.data(), .ldx = 64, .y = &y, .ldy = 4, .tokens = 1}, 2, 2);
  EXPECT_EQ(y, 3);
}

INSTANTIATE_TEST_SUITE_P(All, IsaTest, testing::ValuesIn(supported_isas()),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

}  // namespace
}  // namespace baltoro::kernels
