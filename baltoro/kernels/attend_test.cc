// SPDX-License-Identifier: Apache-2.0
// Attention over a paged cache against plain softmax attention in f64, with a computed bound; and its invariance.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "baltoro/kernels/kernels.h"
#include "baltoro/kernels/random_weights.h"
#include "baltoro/kernels/test_bounds.h"

namespace baltoro::kernels {
namespace {

struct Shape {
  std::int64_t tokens;
  std::int64_t heads;
  std::int64_t kv_dim;
  std::int64_t rank;
  std::int64_t position;  // of the first token
  std::int64_t queries() const { return tokens * heads; }
};

struct AlignedFloats {
  explicit AlignedFloats(std::int64_t n) : values(static_cast<std::size_t>(n + 16), std::nanf("")) {}
  float* get() {
    return values.data() + (64 - reinterpret_cast<std::uintptr_t>(values.data()) % 64) % 64 / sizeof(float);
  }
  std::vector<float> values;
};

void put_nan(float& to) { to = std::nanf(""); }
void put_nan(bf16& to) { to = 0x7FC0; }

// A cache whose blocks lie in any order, NaN behind the last token's row, and the queries of all tokens and heads.
template <typename X>
struct Problem {
  Problem(const Shape& of, std::mt19937_64& rng) : shape(of), length(of.position + of.tokens) {
    const std::int64_t count = (length + kAttendBlock - 1) / kAttendBlock;
    rows.resize(static_cast<std::size_t>(count * kAttendBlock * of.kv_dim));
    for (X& value : rows) narrow(random_float(rng), value);
    q.resize(static_cast<std::size_t>(of.queries() * of.kv_dim));
    for (X& value : q) narrow(random_float(rng) * 2, value);
    for (std::int64_t i = 0; i < count; ++i) order.push_back(i);
    std::shuffle(order.begin(), order.end(), rng);
    for (const std::int64_t i : order) {
      blocks.push_back(reinterpret_cast<const std::byte*>(rows.data() + i * kAttendBlock * of.kv_dim));
    }
    forget_from(length);
  }
  std::size_t index(std::int64_t position, std::int64_t c) const {
    const std::int64_t block = order[static_cast<std::size_t>(position / kAttendBlock)];
    return static_cast<std::size_t>((block * kAttendBlock + position % kAttendBlock) * shape.kv_dim + c);
  }
  double element(std::int64_t position, std::int64_t c) const { return widen(rows[index(position, c)]); }
  void forget_from(std::int64_t position) {
    for (; position % kAttendBlock != 0; ++position) {
      for (std::int64_t c = 0; c < shape.kv_dim; ++c) put_nan(rows[index(position, c)]);
    }
  }
  // z of some tokens and heads in calls of their own, [tokens, heads, rank].
  std::vector<float> run(const Kernels& k, std::int64_t token, std::int64_t tokens, std::int64_t head,
                         std::int64_t heads, float scale, bool staged = false) const {
    const std::int64_t queries = tokens * heads, floats = attend_state_floats(queries, shape.rank);
    AlignedFloats scratch(attend_scratch_floats(shape.kv_dim));
    const AttendArgs args{.q = q.data() + (token * shape.heads + head) * shape.kv_dim,
                          .q_stride = shape.heads * shape.kv_dim,
                          .tokens = tokens,
                          .heads = heads,
                          .blocks = blocks.data(),
                          .position = shape.position + token,
                          .kv_dim = shape.kv_dim,
                          .rank = shape.rank,
                          .scale = scale,
                          .scratch = scratch.get()};
    std::vector<AlignedFloats> parts;
    std::vector<float*> states;
    for (std::int64_t i = 0; i < attend_parts(args.position + tokens); ++i) {
      states.push_back(parts.emplace_back(floats).get());
      if (staged) {
        attend_in_stages(k, args, i, states.back());
      } else {
        (sizeof(X) == 2 ? k.attend_bf16 : k.attend_f32)(args, i, states.back());
      }
    }
    // Folded at once or one after the other, all queries or some: the same.
    const std::int64_t middle = queries / 2;
    const auto count = static_cast<std::int64_t>(states.size());
    k.attend_fold(queries, shape.rank, states.data(), count, 0, middle);
    for (std::int64_t i = 1; i < count; ++i) {
      float* const two[] = {states[0], states[static_cast<std::size_t>(i)]};
      k.attend_fold(queries, shape.rank, two, 2, middle, queries);
    }
    std::vector<float> z(static_cast<std::size_t>(queries * shape.rank));
    k.attend_finish(queries, shape.rank, states[0], 0, middle, z.data());
    k.attend_finish(queries, shape.rank, states[0], middle, queries, z.data() + middle * shape.rank);
    return z;
  }
  std::vector<float> run_all(const Kernels& k, float scale, bool staged = false) const {
    return run(k, 0, shape.tokens, 0, shape.heads, scale, staged);
  }
  // Each stage cut into calls as small as they may be, the last first.
  void attend_in_stages(const Kernels& k, const AttendArgs& args, std::int64_t part, float* state) const {
    const AttendStages& stages = sizeof(X) == 2 ? k.attend_stages_bf16 : k.attend_stages_f32;
    AlignedFloats scores(attend_stage_floats());
    const std::int64_t positions = std::min(args.position + args.tokens - part * kAttendPart, kAttendPart);
    const auto backwards = [](std::int64_t count, std::int64_t multiple, const auto& call) {
      for (std::int64_t i = (count - 1) / multiple; i >= 0; --i) {
        call(i * multiple, std::min(count, (i + 1) * multiple));
      }
    };
    backwards(positions, kAttendBlock,
              [&](auto begin, auto end) { stages.score(args, part, begin, end, scores.get()); });
    backwards(args.tokens * args.heads, kAttendGroup,
              [&](auto begin, auto end) { stages.weigh(args, part, begin, end, scores.get(), state); });
    backwards(args.rank, kAttendColumns,
              [&](auto begin, auto end) { stages.mix(args, part, begin, end, scores.get(), state); });
  }

  Shape shape;
  std::int64_t length;
  std::vector<X> rows;
  std::vector<X> q;
  std::vector<std::int64_t> order;
  std::vector<const std::byte*> blocks;
};

// Largest |z - truth| / bound of one query. A score is wrong by at most score_error (gamma of the dot, the scale, the
// difference to the maximum), a weight relatively by that and by exp's two ulp, once more for each step's and part's
// rescaling; then the sums. A weight that is rounded to BF16 moves by 2^-9 of itself.
template <typename X>
double worst_of_query(const Problem<X>& problem, Isa isa, std::int64_t query, float scale, const float* z) {
  const Shape& s = problem.shape;
  const std::int64_t length = s.position + query / s.heads + 1;
  std::vector<double> scores(static_cast<std::size_t>(length));
  double score_error = 0;
  for (std::int64_t p = 0; p < length; ++p) {
    double dot = 0;
    double size = 0;
    for (std::int64_t c = 0; c < s.kv_dim; ++c) {
      const double product = widen(problem.q[static_cast<std::size_t>(query * s.kv_dim + c)]) * problem.element(p, c);
      dot += product;
      size += std::fabs(product);
    }
    scores[static_cast<std::size_t>(p)] = dot * scale;
    score_error = std::max(score_error, gamma(static_cast<double>(2 * s.kv_dim + 4)) * size * scale);
  }
  const auto [lowest, highest] = std::minmax_element(scores.begin(), scores.end());
  const double range = *highest - *lowest;
  const double rescalings = std::ceil(static_cast<double>(length) / 64) + 1;
  const double rounding = isa == Isa::kAvx512Bf16 && sizeof(X) == 2 ? 0x1p-9 : 0;
  const double weight_error = 2 * score_error + (rescalings + 1) * (6 + 2 * range) * kUnit;
  const double relative =
      2 * (weight_error + rounding) + (4 * static_cast<double>(length) + 4 * rescalings + 4) * kUnit;
  double total = 0;
  for (const double score : scores) total += std::exp(score - *highest);
  double worst = 0;
  for (std::int64_t c = 0; c < s.rank; ++c) {
    double mix = 0;
    double size = 0;
    for (std::int64_t p = 0; p < length; ++p) {
      const double weight = std::exp(scores[static_cast<std::size_t>(p)] - *highest) / total;
      mix += weight * problem.element(p, c);
      size += weight * std::fabs(problem.element(p, c));
    }
    const double error = std::fabs(static_cast<double>(z[c]) - mix) / (relative * size + 1e-37);
    if (!(error <= worst)) worst = error;  // a NaN too
  }
  return worst;
}

constexpr Shape kShapes[] = {
    {1, 1, 576, 512, 0},    {1, 4, 576, 512, 62},   {9, 7, 576, 512, 55},  {1, 5, 576, 512, 64},
    {1, 64, 576, 512, 199}, {4, 16, 576, 512, 700}, {20, 2, 40, 24, 130},  {3, 3, 33, 17, 49},
    {7, 9, 18, 1, 32},      {1, 1, 160, 128, 4},    {3, 16, 80, 64, 1100}, {6, 6, 7, 7, 1},
    {2, 20, 96, 48, 510},   {3, 20, 96, 48, 512},   {3, 21, 65, 37, 256},  {5, 1, 34, 32, 2200}};

class AttendTest : public testing::TestWithParam<Isa> {
 protected:
  const Kernels& table() const { return kernels(GetParam()); }

  template <typename X>
  void check_bound(const char* name) {
    std::mt19937_64 rng(11);
    double worst = 0;
    for (const Shape& shape : kShapes) {
      const Problem<X> problem(shape, rng);
      const float scale = 3 / std::sqrt(static_cast<float>(shape.kv_dim));
      const std::vector<float> z = problem.run_all(table(), scale);
      for (std::int64_t i = 0; i < shape.queries(); i += 1 + i % 3) {
        worst = std::max(worst, worst_of_query(problem, GetParam(), i, scale, z.data() + i * shape.rank));
      }
    }
    RecordProperty(name, std::to_string(worst));
    EXPECT_LE(worst, 1);
  }

  template <typename X>
  void check_invariance() {
    std::mt19937_64 rng(12);
    for (const Shape& shape : kShapes) {
      Problem<X> problem(shape, rng);
      const std::vector<float> whole = problem.run_all(table(), 0.1f);
      ASSERT_EQ(problem.run_all(table(), 0.1f, true), whole) << "in stages";
      for (int trial = 0; trial < 12; ++trial) {
        const std::int64_t head = random_below(rng, shape.heads), token = random_below(rng, shape.tokens);
        const std::int64_t heads = trial < 3 ? 1 : 1 + random_below(rng, shape.heads - head);
        const std::int64_t tokens = trial < 6 ? 1 : 1 + random_below(rng, shape.tokens - token);
        if (trial == 11) problem.forget_from(shape.position + token + tokens);  // as if nothing had come behind
        const std::vector<float> part = problem.run(table(), token, tokens, head, heads, 0.1f);
        for (std::int64_t i = 0; i < tokens * heads; ++i) {
          const std::int64_t query = (token + i / heads) * shape.heads + head + i % heads;
          ASSERT_EQ(std::memcmp(part.data() + i * shape.rank, whole.data() + query * shape.rank,
                                static_cast<std::size_t>(shape.rank) * sizeof(float)),
                    0)
              << "query " << i << " of tokens [" << token << ", " << token + tokens << "), heads [" << head << ", "
              << head + heads << ") of " << shape.heads << ", position " << shape.position;
        }
      }
    }
  }
};

TEST_P(AttendTest, Bf16WithinTheComputedBound) { check_bound<bf16>("attend_bf16"); }
TEST_P(AttendTest, F32WithinTheComputedBound) { check_bound<float>("attend_f32"); }
TEST_P(AttendTest, Bf16QueriesAreIndependentBitForBit) { check_invariance<bf16>(); }
TEST_P(AttendTest, F32QueriesAreIndependentBitForBit) { check_invariance<float>(); }

// Scores that grow or fall by 40 a position: other steps and parts fade to nothing and nothing overflows.
TEST_P(AttendTest, SteepScoresStayFinite) {
  for (const float direction : {1.0f, -1.0f}) {
    std::mt19937_64 rng(13);
    Problem<float> problem({1, 1, 2, 2, 1299}, rng);
    for (std::int64_t p = 0; p < problem.length; ++p) {
      problem.rows[problem.index(p, 0)] = direction * static_cast<float>(p);
      problem.rows[problem.index(p, 1)] = static_cast<float>(p);
    }
    problem.q = {40, 0};
    const std::vector<float> z = problem.run_all(table(), 1);
    EXPECT_NEAR(z[1], direction > 0 ? static_cast<float>(problem.length - 1) : 0.0f, 1e-14);  // exp(-40) is 4e-18
  }
}

INSTANTIATE_TEST_SUITE_P(All, AttendTest, testing::ValuesIn(supported_isas()),
                         [](const auto& isa) { return std::string(isa_name(isa.param)); });

}  // namespace
}  // namespace baltoro::kernels
