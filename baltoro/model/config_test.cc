// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "baltoro/base/file.h"
#include "baltoro/base/json.h"
#include "baltoro/model/folder_for_test.h"

namespace baltoro::model {
namespace {

using test::small_config;
using test::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;

json::Value yarn() {
  return *json::parse(R"({"type": "yarn", "factor": 64.0, "beta_fast": 1.0, "beta_slow": 1.0, "mscale": 1.0,
                          "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096})");
}

Result<ModelConfig> parse(const json::Value& config) { return parse_config(json::dump(config)); }

TEST(Config, ReadsTheFamilysFields) {
  json::Value config = small_config();
  config.set("rope_scaling", yarn());
  const auto parsed = parse(config);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->hidden_size, 160);
  EXPECT_EQ(parsed->q_lora_rank, 48);
  EXPECT_EQ(parsed->kv_dim(), 40);
  EXPECT_EQ(parsed->tensor_prefix, "");
  EXPECT_FALSE(parsed->is_moe_layer(0));
  EXPECT_TRUE(parsed->is_moe_layer(1));
  EXPECT_THAT(parsed->eos_token_ids, ElementsAre(258));
  ASSERT_TRUE(parsed->yarn.has_value());
  EXPECT_EQ(parsed->yarn->beta_fast, 1.0);
  EXPECT_FALSE(parsed->fp8.has_value());
}

// Softmax scales of the released models, from the specification's table.
TEST(Config, SoftmaxScaleFollowsYarnsMscale) {
  ModelConfig config;
  config.qk_nope_head_dim = 128;
  config.qk_rope_head_dim = 64;
  EXPECT_NEAR(config.softmax_scale(), 0.0721687836, 1e-9);
  config.yarn = YarnConfig{.factor = 32, .mscale_all_dim = 1};
  EXPECT_NEAR(config.softmax_scale(), 0.130860800, 1e-9);
  config.yarn->factor = 64;
  EXPECT_NEAR(config.softmax_scale(), 0.144679626, 1e-9);
  config.yarn->factor = 40;
  EXPECT_NEAR(config.softmax_scale(), 0.135233779, 1e-9);
  config.yarn->mscale_all_dim = 0;
  EXPECT_NEAR(config.softmax_scale(), 0.0721687836, 1e-9);
}

TEST(Config, MoonlightHasNoQueryLoraRank) {
  json::Value config = small_config();
  config.set("q_lora_rank", nullptr);
  EXPECT_FALSE(parse(config)->q_lora_rank.has_value());
}

TEST(Config, KimiK25TakesTheTextConfigAndItsPrefix) {
  json::Value inner = small_config();
  inner.set("model_type", "kimi_k2");
  inner.set("quantization_config", *json::parse(R"({"quant_method": "compressed-tensors", "format": "pack-quantized",
      "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group",
      "group_size": 64, "dynamic": false, "actorder": null}}}})"));
  json::Value outer =
      json::Object{{"model_type", "kimi_k25"}, {"eos_token_id", 259}, {"vision_config", json::Object{}}};
  outer.set("text_config", inner);
  const auto parsed = parse(outer);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->tensor_prefix, "language_model.");
  EXPECT_EQ(parsed->int4->group_size, 64);
  EXPECT_THAT(parsed->eos_token_ids, ElementsAre(258, 259));
}

TEST(Config, NewerKeySpellings) {
  json::Value config = small_config();
  std::erase_if(config.as_object(), [](const json::Member& m) {
    return m.first == "torch_dtype" || m.first == "rope_theta" || m.first == "rope_scaling";
  });
  config.set("dtype", "bfloat16");
  json::Value rope = yarn();
  std::erase_if(rope.as_object(), [](const json::Member& m) { return m.first == "type"; });
  rope.set("rope_type", "yarn");
  rope.set("rope_theta", 50000.0);
  config.set("rope_parameters", rope);
  const auto parsed = parse(config);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->rope_theta, 50000);
  EXPECT_EQ(parsed->yarn->factor, 64);
  config.set("rope_parameters", json::Object{{"rope_type", "default"}, {"rope_theta", 1e4}});
  EXPECT_FALSE(parse(config)->yarn.has_value());
}

TEST(Config, Fp8BlocksAreRead) {
  json::Value config = small_config();
  config.set("quantization_config",
             json::Object{{"quant_method", "fp8"}, {"fmt", "e4m3"}, {"weight_block_size", json::Array{128, 64}}});
  EXPECT_EQ(parse(config)->fp8->block_cols, 64);
}

TEST(Config, TheRealKimiK25Config) {
  const std::string dir = std::string(BALTORO_SHARED_DIR) + "/tokenizer/kimi";
  if (!is_directory(dir)) GTEST_SKIP() << "needs " << dir;
  const auto text = read_file(join_path(dir, "config.json"), 1 << 20);
  ASSERT_TRUE(text.ok()) << text.error().message;
  const auto parsed = parse_config(*text);
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->n_routed_experts, 384);
  EXPECT_EQ(parsed->max_position_embeddings, 262144);
  EXPECT_EQ(parsed->yarn->beta_fast, 32);
}

struct BadConfig {
  const char* name;
  const char* field;  // set to `value`, JSON text
  const char* value;
  Errc code;
  const char* message;
};

class BadConfigTest : public testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigTest, IsNamedAndRefused) {
  const BadConfig& bad = GetParam();
  json::Value config = small_config();
  const auto value = json::parse(bad.value);
  ASSERT_TRUE(value.ok());
  config.set(bad.field, *value);
  const auto parsed = parse(config);
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.error().code, bad.code) << parsed.error().message;
  EXPECT_THAT(parsed.error().message, HasSubstr(bad.field));
  EXPECT_THAT(parsed.error().message, HasSubstr(bad.message));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadConfigTest,
    testing::Values(
        BadConfig{"hidden_zero", "hidden_size", "0", Errc::kCorrupt, "config has 0"},
        BadConfig{"hidden_negative", "hidden_size", "-64", Errc::kCorrupt, "config has -64"},
        BadConfig{"hidden_string", "hidden_size", "\"64\"", Errc::kCorrupt, "an integer"},
        BadConfig{"hidden_fraction", "hidden_size", "64.5", Errc::kCorrupt, "64.5"},
        BadConfig{"hidden_null", "hidden_size", "null", Errc::kCorrupt, "config has none"},
        BadConfig{"hidden_huge", "hidden_size", "18446744073709551615", Errc::kCorrupt, "in [1, 1048576]"},
        BadConfig{"experts_billion", "n_routed_experts", "1000000000", Errc::kCorrupt, "in [0, 16384]"},
        BadConfig{"top_k_over_experts", "num_experts_per_tok", "9", Errc::kCorrupt, "in [1, 8]"},
        BadConfig{"group_no_divisor", "n_group", "3", Errc::kCorrupt, "a divisor of"},
        BadConfig{"groups_over", "topk_group", "2", Errc::kCorrupt, "in [1, 1]"},
        BadConfig{"rope_odd", "qk_rope_head_dim", "7", Errc::kCorrupt, "an even number"},
        BadConfig{"eps_zero", "rms_norm_eps", "0", Errc::kCorrupt, "a number in"},
        BadConfig{"eos_out_of_vocab", "eos_token_id", "512", Errc::kCorrupt, "ids in [0, vocab_size 512)"},
        BadConfig{"bos_out_of_vocab", "bos_token_id", "-1", Errc::kCorrupt, "in [0, 511]"},
        BadConfig{"model_type_other", "model_type", "\"llama\"", Errc::kUnsupported, "kimi_k2"},
        BadConfig{"scoring", "scoring_func", "\"softmax\"", Errc::kUnsupported, "sigmoid"},
        BadConfig{"topk_method", "topk_method", "\"greedy\"", Errc::kUnsupported, "noaux_tc"},
        BadConfig{"activation", "hidden_act", "\"gelu\"", Errc::kUnsupported, "silu"},
        BadConfig{"bias", "attention_bias", "true", Errc::kUnsupported, "false"},
        BadConfig{"gqa", "num_key_value_heads", "1", Errc::kUnsupported, "num_attention_heads"},
        BadConfig{"rope_type", "rope_scaling", R"({"type": "longrope"})", Errc::kUnsupported, "yarn"},
        BadConfig{"rope_factor_zero", "rope_scaling",
                  R"({"type": "yarn", "factor": 0, "original_max_position_embeddings": 64})", Errc::kCorrupt, "factor"},
        BadConfig{"rope_array", "rope_scaling", "[1]", Errc::kCorrupt, "an object"},
        BadConfig{"quant_method", "quantization_config", R"({"quant_method": "awq"})", Errc::kUnsupported, "fp8"},
        BadConfig{"quant_none", "quantization_config", "{}", Errc::kCorrupt, "quant_method"},
        BadConfig{"block_zero", "quantization_config", R"({"quant_method": "fp8", "weight_block_size": [0, 128]})",
                  Errc::kCorrupt, "weight_block_size"},
        BadConfig{
            "int_bits", "quantization_config",
            R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"g": {"weights":
                  {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "group", "group_size": 32}}}})",
            Errc::kUnsupported, "num_bits"},
        BadConfig{
            "asymmetric", "quantization_config",
            R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"g": {"weights":
                  {"num_bits": 4, "type": "int", "symmetric": false, "strategy": "group", "group_size": 32}}}})",
            Errc::kUnsupported, "symmetric"},
        BadConfig{
            "group_odd", "quantization_config",
            R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"g": {"weights":
                  {"num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 33}}}})",
            Errc::kUnsupported, "an even number"}),
    [](const auto& parameter) { return std::string(parameter.param.name); });

TEST(Config, ProductsOfAllowedDimensionsAreBounded) {
  json::Value config = small_config();
  for (const char* field : {"hidden_size", "intermediate_size", "moe_intermediate_size"}) config.set(field, 1 << 20);
  config.set("n_routed_experts", 16384);
  config.set("num_hidden_layers", 4096);
  EXPECT_EQ(parse(config).error().code, Errc::kCorrupt);
  EXPECT_THAT(parse(config).error().message, HasSubstr("2^52 parameters"));
}

TEST(Config, MalformedTextIsRefused) {
  for (const char* text :
       {"", "{", "[]", "null", "{\"model_type\": 3}", "{\"hidden_size\": NaN}", "{\"a\":1,\"a\":2}"}) {
    const auto parsed = parse_config(text);
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.error().code, Errc::kCorrupt) << text;
  }
  EXPECT_FALSE(parse_config(std::string(5000, '[')).ok());
}

TEST(Config, GenerationConfigAddsItsStopIds) {
  const TemporaryFolder folder;
  ASSERT_TRUE(write_file_atomically(folder / "config.json", json::dump(small_config())).ok());
  ASSERT_TRUE(write_file_atomically(folder / "generation_config.json", R"({"eos_token_id": [258, 257]})").ok());
  EXPECT_THAT(load_config(folder.path())->eos_token_ids, ElementsAre(258, 257));
  ASSERT_TRUE(write_file_atomically(folder / "generation_config.json", R"({"temperature": NaN})").ok());
  EXPECT_EQ(load_config(folder.path()).error().code, Errc::kCorrupt);
  EXPECT_EQ(load_config(folder / "absent").error().code, Errc::kNotFound);
  EXPECT_THAT(load_config(folder / "config.json").error().message, HasSubstr("a model folder"));
}

}  // namespace
}  // namespace baltoro::model
