// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/synth.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <numeric>

#include "baltoro/base/file.h"
#include "baltoro/base/sha256.h"
#include "baltoro/model/checkpoint.h"
#include "baltoro/model/decoder.h"
#include "baltoro/model/folder_for_test.h"
#include "baltoro/model/synth_values.h"
#include "baltoro/model/weights.h"

namespace baltoro::model {
namespace {

using test::small_config;
using test::TemporaryFolder;
using testing::HasSubstr;

SynthOptions options_for(const std::string& out, QuantScheme quant = QuantScheme::kInt4) {
  return {.config_json = json::dump(small_config()),
          .quant = quant,
          .seed = 5,
          .out = out,
          .threads = 2,
          .progress = ProgressStyle::kSilent};
}

std::string file_text(const std::string& path) {
  auto text = read_file(path, 1 << 30);
  EXPECT_TRUE(text.ok()) << text.error().message;
  return text.ok() ? *text : "";
}

// --- values

TEST(SynthValues, AreUnitNormalAndDependOnKeyAndIndexAlone) {
  const std::uint64_t key = value_key(1, "model.norm");
  EXPECT_NE(key, value_key(2, "model.norm"));
  EXPECT_NE(key, value_key(1, "model.nor"));
  std::vector<float> all(1 << 17);
  fill_values(key, 0, {}, all);
  double sum = 0, squares = 0, fourth = 0;
  for (const double x : all) {
    sum += x;
    squares += x * x;
    fourth += x * x * x * x;
  }
  const auto n = static_cast<double>(all.size());
  EXPECT_NEAR(sum / n, 0, 0.01);
  EXPECT_NEAR(squares / n, 1, 0.01);
  EXPECT_NEAR(fourth / n, 2.7, 0.1);
  for (const std::size_t begin : {0u, 1u, 2u, 77u}) {
    for (const std::size_t count : {0u, 1u, 2u, 3u, 50u}) {
      std::vector<float> part(count);
      fill_values(key, begin, {}, part);
      EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + static_cast<std::ptrdiff_t>(begin)));
    }
  }
}

TEST(SynthValues, FastFp8AgreesWithTheReference) {
  for (int exponent = -20; exponent < 10; ++exponent) {
    for (int i = 0; i < 512; ++i) {
      const float x = std::ldexp(1.0F + static_cast<float>(i) / 512.0F, exponent);
      ASSERT_EQ(fast_f8e4m3(x), tensor::f32_to_f8e4m3(x)) << x;
      ASSERT_EQ(fast_f8e4m3(-x), tensor::f32_to_f8e4m3(-x)) << x;
    }
  }
  EXPECT_EQ(fast_f8e4m3(0.0F), 0);
}

TEST(SynthValues, Int4CodesAreSymmetricAndRoundHalfToEven) {
  // amax 7 gives scale 1: codes are the rounded values themselves.
  const std::vector<float> row{7, -7, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, 3.49F};
  std::byte codes[4];
  std::byte scale[2];
  encode_int4_row(row, 8, codes, scale);
  const int expected[8] = {7, -7, 0, 2, 2, 0, -2, 3};
  for (std::size_t i = 0; i < 8; ++i) {
    const auto byte = static_cast<unsigned>(codes[i / 2]);
    EXPECT_EQ(static_cast<int>(i % 2 == 0 ? byte & 15 : byte >> 4) - 8, expected[i]) << i;
  }
  tensor::bf16 bits = 0;
  std::memcpy(&bits, scale, sizeof bits);
  EXPECT_EQ(tensor::bf16_to_f32(bits), 1.0F);
}

// --- folders

TEST(Synth, AFolderOpensAndSaysWhatItIs) {
  for (const auto quant : {QuantScheme::kBf16, QuantScheme::kFp8, QuantScheme::kInt4}) {
    const TemporaryFolder folder;
    SynthOptions options = options_for(folder.path(), quant);
    options.shard_bytes = 300'000;
    const auto report = synthesize(options);
    ASSERT_TRUE(report.ok()) << report.error().message;
    EXPECT_GT(report->shards, 2);
    EXPECT_EQ(report->bytes, report->bytes_written);
    const auto weights = open_weights(folder.path());
    ASSERT_TRUE(weights.ok()) << weights.error().message;
    EXPECT_EQ((*weights)->config.fp8.has_value(), quant == QuantScheme::kFp8);
    EXPECT_EQ((*weights)->config.int4.has_value(), quant == QuantScheme::kInt4);
    EXPECT_EQ((*weights)->config.eos_token_ids, (std::vector<std::int32_t>{258}));
    const auto index = json::parse(file_text(folder / "model.safetensors.index.json"));
    ASSERT_TRUE(index.ok());
    EXPECT_EQ(index->find("metadata")->find("total_size")->as_uint(), report->bytes);
  }
}

TEST(Synth, ContentDoesNotDependOnShardsOrThreads) {
  const TemporaryFolder a, b;
  ASSERT_TRUE(synthesize(options_for(a.path())).ok());
  SynthOptions options = options_for(b.path());
  options.threads = 1;
  options.shard_bytes = 200'000;
  ASSERT_TRUE(synthesize(options).ok());
  const auto one = open_weights(a.path());
  const auto other = open_weights(b.path());
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_GT((*other)->files->shards().size(), 1u);
  for (const auto& [name, tensor] : (*one)->files->tensors()) {
    const TensorView* same = (*other)->files->find(name);
    ASSERT_NE(same, nullptr);
    EXPECT_TRUE(std::equal(tensor.view->data.begin(), tensor.view->data.end(), same->data.begin(), same->data.end()))
        << name;
  }
}

TEST(Synth, AnInterruptedRunIsResumedToTheSameBytes) {
  const TemporaryFolder whole, broken;
  SynthOptions options = options_for(whole.path());
  options.shard_bytes = 200'000;
  const auto first = synthesize(options);
  ASSERT_TRUE(first.ok());
  options.out = broken.path();
  ASSERT_TRUE(synthesize(options).ok());
  // As if it had stopped while writing the second shard.
  const std::string second = fmt::format("model-00002-of-{:05}.safetensors", first->shards);
  std::filesystem::resize_file(broken / second, 1000);
  std::filesystem::rename(broken / second, broken / (second + ".tmp"));
  std::filesystem::remove(broken / "config.json");
  EXPECT_FALSE(open_weights(broken.path()).ok());
  const auto resumed = synthesize(options);
  ASSERT_TRUE(resumed.ok()) << resumed.error().message;
  EXPECT_EQ(resumed->shards_kept, first->shards - 1);
  EXPECT_LT(resumed->bytes_written, first->bytes);
  EXPECT_EQ(file_text(whole / second), file_text(broken / second));
  EXPECT_FALSE(file_exists(broken / (second + ".tmp")));
  EXPECT_TRUE(open_weights(broken.path()).ok());
}

TEST(Synth, ForeignFoldersAndOtherParametersAreRefused) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomically(folder / "thesis.txt", "precious").ok());
  EXPECT_EQ(synthesize(options_for(folder.path())).error().code, Errc::kPermissionDenied);
  const TemporaryFolder mine;
  ASSERT_TRUE(synthesize(options_for(mine.path())).ok());
  SynthOptions other = options_for(mine.path());
  other.seed = 6;
  const auto refused = synthesize(other);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, HasSubstr("made with other parameters"));
}

TEST(Synth, ConfigsThatDoNotFitAreRefused) {
  const TemporaryFolder folder;
  SynthOptions options = options_for(folder / "x");
  options.group_size = 48;
  EXPECT_EQ(synthesize(options).error().code, Errc::kInvalidArgument);
  options = options_for(folder / "x");
  options.config_json = "{";
  EXPECT_EQ(synthesize(options).error().code, Errc::kInvalidArgument);
  options.config_json = "{\"model_type\": \"kimi_k2\"}";
  EXPECT_EQ(synthesize(options).error().code, Errc::kCorrupt);
  EXPECT_FALSE(file_exists(folder / "x"));
}

TEST(Synth, TheTextHalfOfK25CanBeMade) {
  const TemporaryFolder folder;
  json::Value outer = json::Object{{"model_type", "kimi_k25"}};
  json::Value inner = small_config();
  inner.set("model_type", "kimi_k2");
  outer.set("text_config", inner);
  SynthOptions options = options_for(folder.path());
  options.config_json = json::dump(outer);
  ASSERT_TRUE(synthesize(options).ok());
  const auto weights = open_weights(folder.path());
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  EXPECT_TRUE((*weights)->config.int4.has_value());
}

// A folder far larger than memory: K2 itself with holes for its matrices. Opening it reads headers and norms only.
TEST(Synth, ASparseFolderOfHundredsOfGigabytesOpens) {
  const TemporaryFolder folder;
  auto config = json::parse(file_text(std::string(BALTORO_SOURCE_DIR) + "/configs/k2.json"));
  ASSERT_TRUE(config.ok());
  config->set("num_hidden_layers", 12);  // a fifth of K2
  SynthOptions options = options_for(folder.path());
  options.config_json = json::dump(*config);
  options.shard_bytes = 40'000'000'000;
  options.sparse = true;
  const TemporaryFolder probe;
  const FileDescriptor fd(::open((probe.path() + "/holes").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.open() || ::ftruncate(fd.get(), 100'000'000'000) != 0)
    GTEST_SKIP() << "no files with holes of that size here";
  const auto report = synthesize(options);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_GT(report->bytes, 100'000'000'000u);
  const auto weights = open_weights(folder.path());
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  EXPECT_EQ((*weights)->layers.size(), 12u);
  EXPECT_NEAR((*weights)->norm[7], 1.0F, 0.3F);
}

// --- magnitudes

// Logits neither collapse nor overflow, and tokens spread over the experts.
TEST(Synth, LogitsAndRoutingAreSane) {
  const TemporaryFolder folder;
  SynthOptions options = options_for(folder.path(), QuantScheme::kFp8);
  options.config_json = file_text(std::string(BALTORO_SOURCE_DIR) + "/configs/tiny.json");
  ASSERT_TRUE(synthesize(options).ok());
  auto opened = open_weights(folder.path());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const std::shared_ptr<const Weights> weights = *std::move(opened);
  const ModelConfig& config = weights->config;
  constexpr std::int64_t kTokens = 128;
  auto decoder = Decoder::create(weights, {.threads = 2, .max_batch_tokens = kTokens, .max_logit_rows = kTokens});
  ASSERT_TRUE(decoder.ok());
  auto kv = KvCache::create(config, Math::kExact, 2);
  ASSERT_TRUE(kv.ok());
  std::vector<std::int32_t> tokens(kTokens), positions(kTokens), sequences(kTokens, 0);
  std::iota(positions.begin(), positions.end(), 0);
  for (std::size_t i = 0; i < kTokens; ++i) tokens[i] = static_cast<std::int32_t>(i * 37 % 1024);
  const BlockId blocks[2] = {BlockId{0}, BlockId{1}};
  const std::span<const BlockId> table(blocks);
  std::map<std::int64_t, std::vector<int>> uses;
  Trace trace;
  trace.routing = [&](std::int64_t layer, std::span<const std::int32_t> experts, std::span<const float>) {
    auto& counts = uses[layer];
    counts.resize(static_cast<std::size_t>(config.n_routed_experts));
    for (const std::int32_t expert : experts) ++counts[static_cast<std::size_t>(expert)];
  };
  std::vector<float> logits(static_cast<std::size_t>(kTokens * config.vocab_size));
  ASSERT_TRUE((*decoder)->forward({tokens, positions, sequences, {&table, 1}, positions}, **kv, logits, &trace).ok());
  double squares = 0;
  for (const double x : logits) squares += x * x;
  const double deviation = std::sqrt(squares / static_cast<double>(logits.size()));
  EXPECT_GT(deviation, 1.0);
  EXPECT_LT(deviation, 3.0);
  EXPECT_EQ(uses.size(), 3u);
  for (const auto& [layer, counts] : uses) {
    const double mean = static_cast<double>(kTokens * config.num_experts_per_tok) / static_cast<double>(counts.size());
    for (const int count : counts) {
      EXPECT_GT(count, mean / 6) << "layer " << layer;
      EXPECT_LT(count, mean * 3) << "layer " << layer;
    }
  }
}

}  // namespace
}  // namespace baltoro::model
