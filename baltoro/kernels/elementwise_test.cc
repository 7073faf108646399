// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/random_weights.h"
#include "baltoro/kernels/test_bounds.h"

namespace baltoro::kernels {
namespace {

constexpr float kGuard = 1234.5f;  // behind every output: must stay
constexpr std::int64_t kLengths[] = {1, 2, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 512, 1000, 7168};

std::vector<float> random_floats(std::int64_t n, std::mt19937_64& rng, float size = 1) {
  std::vector<float> values(static_cast<std::size_t>(n));
  for (float& value : values) value = random_float(rng) * size;
  return values;
}

class ElementwiseTest : public testing::TestWithParam<Isa> {
 protected:
  const Kernels& table() const { return kernels(GetParam()); }
  void note(const char* name, double ratio) { RecordProperty(name, std::to_string(ratio)); }
  std::mt19937_64 rng{3};
};

TEST_P(ElementwiseTest, TheTableSaysWhatItIs) { EXPECT_EQ(table().isa, GetParam()); }

TEST_P(ElementwiseTest, RmsnormWithinTheComputedBound) {
  double worst = 0;
  for (const std::int64_t n : kLengths) {
    const auto x = random_floats(n, rng, 5);
    const auto w = random_floats(n, rng);
    std::vector<float> y(static_cast<std::size_t>(n + 1), kGuard);
    table().rmsnorm(x.data(), w.data(), 1e-5f, y.data(), n);
    double squares = 0;
    for (const float value : x) squares += static_cast<double>(value) * value;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(n) + static_cast<double>(1e-5f));
    // The sum's n roundings and the mean's and epsilon's count half behind the root; root, quotient and two products.
    const double roundings = static_cast<double>(n + 2) / 2 + 4;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double truth = static_cast<double>(x[i]) * scale * static_cast<double>(w[i]);
      worst = std::max(worst,
                       std::fabs(static_cast<double>(y[i]) - truth) / (roundings * kUnit * std::fabs(truth) + 1e-44));
    }
    EXPECT_EQ(y.back(), kGuard);
    auto in_place = x;
    table().rmsnorm(in_place.data(), w.data(), 1e-5f, in_place.data(), n);
    EXPECT_EQ(std::memcmp(in_place.data(), y.data(), in_place.size() * 4), 0);
  }
  note("rmsnorm", worst);
  EXPECT_LE(worst, 1);
}

// exp is within 2 ulp (four units), 1 + e, the quotient and the product round: seven units. Where exp(-gate) overflows,
// silu is below 2^-120 and may be zero.
TEST_P(ElementwiseTest, SiluMulWithinTheComputedBound) {
  std::vector<float> gate;
  for (float a = -110; a < 95; a += 0.0007f) gate.push_back(a);
  for (const float a : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e30f, -88.72f, -88.73f, 88.8f}) gate.push_back(a);
  std::vector<float> up = random_floats(static_cast<std::int64_t>(gate.size()), rng, 3);
  std::vector<float> y(gate.size() + 1, kGuard);
  table().silu_mul(gate.data(), up.data(), y.data(), static_cast<std::int64_t>(gate.size()));
  double worst = 0;
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const double a = gate[i];
    const double truth = a / (1 + std::exp(-a)) * static_cast<double>(up[i]);
    const double bound = 7.01 * kUnit * std::fabs(truth) + 0x1p-120 * (std::fabs(static_cast<double>(up[i])) + 1e-6);
    worst = std::max(worst, std::fabs(static_cast<double>(y[i]) - truth) / bound);
  }
  note("silu_mul", worst);
  EXPECT_LE(worst, 1);
  EXPECT_EQ(y.back(), kGuard);
}

TEST_P(ElementwiseTest, SiluMulOfRaggedPartsAndAliasesHasTheSameBits) {
  const auto gate = random_floats(300, rng, 9);
  const auto up = random_floats(300, rng);
  std::vector<float> whole(300);
  table().silu_mul(gate.data(), up.data(), whole.data(), 300);
  for (int trial = 0; trial < 50; ++trial) {
    const std::int64_t begin = random_below(rng, 300);
    const std::int64_t n = 1 + random_below(rng, 300 - begin);
    auto part = gate;
    table().silu_mul(part.data() + begin, up.data() + begin, part.data() + begin, n);
    EXPECT_EQ(std::memcmp(part.data() + begin, whole.data() + begin, static_cast<std::size_t>(n) * 4), 0);
  }
  auto aliased = up;
  table().silu_mul(gate.data(), aliased.data(), aliased.data(), 300);
  EXPECT_EQ(std::memcmp(aliased.data(), whole.data(), 1200), 0);
}

TEST_P(ElementwiseTest, SiluMulKeepsNan) {
  const float gate[] = {NAN, 1, -INFINITY, INFINITY};
  const float up[] = {1, NAN, 1, 1};
  float y[4] = {};
  table().silu_mul(gate, up, y, 4);
  EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y[1]) && std::isnan(y[2]));
  EXPECT_EQ(y[3], INFINITY);
}

TEST_P(ElementwiseTest, MaximumIsExactAndSeesWhatIsNotFinite) {
  for (const std::int64_t n : kLengths) {
    if (n == 0) continue;
    auto x = random_floats(n, rng);
    for (float& value : x) value -= 5;  // padding would be larger
    bool finite = false;
    EXPECT_EQ(table().maximum(x.data(), n, &finite), *std::max_element(x.begin(), x.end()));
    EXPECT_TRUE(finite);
    for (const float bad : {NAN, INFINITY, -INFINITY}) {
      auto with = x;
      with[static_cast<std::size_t>(random_below(rng, n))] = bad;
      finite = true;
      const float most = table().maximum(with.data(), n, &finite);
      EXPECT_FALSE(finite);
      if (!std::isnan(bad)) {
        EXPECT_EQ(most, *std::max_element(with.begin(), with.end()));
      }
    }
  }
}

// The difference and the quotient round to within 2 units of the exponent, exp to 2 ulp (four units) of its value.
TEST_P(ElementwiseTest, SoftmaxWeightsWithinTheComputedBound) {
  const auto x = random_floats(3001, rng, 20);
  const float most = *std::max_element(x.begin(), x.end());
  for (const float temperature : {1.0f, 0.31f, 7.0f}) {
    std::vector<float> y(x.size() + 1, kGuard);
    table().softmax_weights(x.data(), most, temperature, y.data(), std::ssize(x));
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double exponent = (double{x[i]} - double{most}) / double{temperature};
      const double bound = (4.01 + 2.01 * std::fabs(exponent)) * kUnit * std::exp(exponent) + 0x1p-126;
      worst = std::max(worst, std::fabs(double{y[i]} - std::exp(exponent)) / bound);
    }
    EXPECT_LE(worst, 1);
    EXPECT_EQ(y.back(), kGuard);
  }
  const float ends[] = {-INFINITY, 3};
  float y[2] = {};
  table().softmax_weights(ends, 3, 1e-40f, y, 2);
  EXPECT_EQ(y[0], 0);
  EXPECT_EQ(y[1], 1);
}

TEST_P(ElementwiseTest, AddIsExact) {
  for (const std::int64_t n : kLengths) {
    const auto x = random_floats(n, rng);
    auto y = random_floats(n + 1, rng);
    const auto before = y;
    table().add(x.data(), y.data(), n);
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i], before[i] + x[i]);
    EXPECT_EQ(y.back(), before.back());
  }
}

TEST_P(ElementwiseTest, ToBf16GivesTheBitsOfTheDefinition) {
  std::vector<float> x;
  for (std::uint32_t high = 0; high < 65536; ++high) {
    for (const std::uint32_t low : {0u, 1u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu})
      x.push_back(std::bit_cast<float>(high << 16 | low));
  }
  x.push_back(1);  // a ragged end
  std::vector<bf16> y(x.size() + 1, 77);
  table().to_bf16(x.data(), y.data(), static_cast<std::int64_t>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(y[i], tensor::f32_to_bf16(x[i])) << std::bit_cast<std::uint32_t>(x[i]);
  EXPECT_EQ(y.back(), 77);
}

TEST_P(ElementwiseTest, RopeWithinTheComputedBound) {
  double worst = 0;
  for (const std::int64_t n : {2, 6, 8, 16, 18, 30, 64, 66, 128}) {
    auto x = random_floats(n + 1, rng);
    const auto before = x;
    std::vector<float> cos;
    std::vector<float> sin;
    for (std::int64_t i = 0; i < n / 2; ++i) {
      const float angle = random_float(rng) * 6;
      cos.push_back(std::cos(angle));
      sin.push_back(std::sin(angle));
    }
    table().rope(x.data(), cos.data(), sin.data(), n);
    for (std::size_t i = 0; i < cos.size(); ++i) {
      const double a = before[2 * i];
      const double b = before[2 * i + 1];
      const double c = cos[i];
      const double s = sin[i];
      const double even = 3 * kUnit * (std::fabs(a * c) + std::fabs(b * s)) + 1e-44;
      const double odd = 3 * kUnit * (std::fabs(a * s) + std::fabs(b * c)) + 1e-44;
      worst = std::max(worst, std::fabs(static_cast<double>(x[2 * i]) - (a * c - b * s)) / even);
      worst = std::max(worst, std::fabs(static_cast<double>(x[2 * i + 1]) - (a * s + b * c)) / odd);
    }
    EXPECT_EQ(x.back(), before.back());
  }
  note("rope", worst);
  EXPECT_LE(worst, 1);
}

INSTANTIATE_TEST_SUITE_P(All, ElementwiseTest, testing::ValuesIn(supported_isas()),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

TEST(ChooseIsa, TakesTheWidestOrTheNamedOne) {
  unsetenv("BALTORO_ISA");
  const auto widest = choose_isa();
  ASSERT_TRUE(widest.ok());
  EXPECT_EQ(*widest, supported_isas().back());
  for (const Isa isa : supported_isas()) {
    setenv("BALTORO_ISA", isa_name(isa), 1);
    const auto named = choose_isa();
    ASSERT_TRUE(named.ok());
    EXPECT_EQ(*named, isa);
  }
  setenv("BALTORO_ISA", "avx9000", 1);
  const auto unknown = choose_isa();
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.error().code, Errc::kUnsupported);
  EXPECT_NE(unknown.error().message.find("avx9000"), std::string::npos);
  unsetenv("BALTORO_ISA");
}

}  // namespace
}  // namespace baltoro::kernels
