// SPDX-License-Identifier: Apache-2.0
// Model folders that tests make, take apart and spoil.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "baltoro/base/file.h"
#include "baltoro/base/json.h"
#include "baltoro/model/safetensors.h"
#include "baltoro/model/synth.h"

namespace baltoro::test {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "baltoro-test-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return join_path(path_, name); }

 private:
  std::string path_;
};

// A config of the family with two layers (one dense, one MoE) and ragged FP8 blocks (hidden 160 = 128 + 32).
inline json::Value small_config() {
  return *json::parse(R"({
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 512, "hidden_size": 160,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": 48, "kv_lora_rank": 32,
    "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "intermediate_size": 192,
    "moe_intermediate_size": 64, "n_routed_experts": 8, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1,
    "topk_group": 1, "first_k_dense_replace": 1, "moe_layer_freq": 1, "scoring_func": "sigmoid",
    "topk_method": "noaux_tc", "norm_topk_prob": true, "routed_scaling_factor": 2.5, "rms_norm_eps": 1e-06,
    "rope_theta": 10000, "rope_scaling": null, "max_position_embeddings": 256, "tie_word_embeddings": false,
    "hidden_act": "silu", "attention_bias": false, "num_nextn_predict_layers": 0, "bos_token_id": 256,
    "eos_token_id": 258, "torch_dtype": "bfloat16"})");
}

// The text of that config with other numbers.
inline std::string small_config_with(const std::vector<std::pair<const char*, std::int64_t>>& numbers) {
  json::Value config = small_config();
  for (const auto& [field, number] : numbers) config.set(field, number);
  return json::dump(config);
}

// A checkpoint in memory: every tensor with its bytes.
struct LooseTensor {
  model::TensorInfo info;
  std::vector<std::byte> bytes;
};
using LooseTensors = std::map<std::string, LooseTensor>;

inline LooseTensor make_tensor(std::string name, tensor::DType dtype, std::vector<std::int64_t> shape) {
  LooseTensor tensor{{std::move(name), dtype, std::move(shape)}, {}};
  tensor.bytes.resize(static_cast<std::size_t>(tensor.info.bytes()));
  return tensor;
}

inline void put(LooseTensors& tensors, LooseTensor tensor) {
  const std::string name = tensor.info.name;
  tensors[name] = std::move(tensor);
}

// The tensors of a synthetic checkpoint of that config, made once a call in a folder of its own.
inline LooseTensors loose_checkpoint(const json::Value& config, model::QuantScheme quant, int group_size = 32) {
  const TemporaryFolder folder;
  const auto made = model::synthesize({.config_json = json::dump(config),
                                       .quant = quant,
                                       .out = folder.path(),
                                       .group_size = group_size,
                                       .threads = 1,
                                       .progress = ProgressStyle::kSilent});
  EXPECT_TRUE(made.ok()) << made.error().message;
  LooseTensors tensors;
  const auto file = model::SafetensorsFile::open(folder / "model-00001-of-00001.safetensors");
  EXPECT_TRUE(file.ok()) << file.error().message;
  for (const model::TensorView& view : file->tensors()) {
    put(tensors, {view.info, std::vector<std::byte>(view.data.begin(), view.data.end())});
  }
  return tensors;
}

inline void write_shard(const std::string& path, const std::vector<const LooseTensor*>& tensors) {
  std::vector<model::TensorInfo> infos;
  for (const LooseTensor* tensor : tensors) infos.push_back(tensor->info);
  auto writer = model::SafetensorsWriter::create(path, infos);
  ASSERT_TRUE(writer.ok()) << writer.error().message;
  for (std::size_t i = 0; i < tensors.size(); ++i) ASSERT_TRUE(writer->write(i, 0, tensors[i]->bytes).ok());
  ASSERT_TRUE(writer->finish(model::SafetensorsWriter::Durability::kLazy).ok());
}

// Writes config.json and one model.safetensors without an index.
inline void write_folder(const std::string& dir, const json::Value& config, const LooseTensors& tensors) {
  ASSERT_TRUE(write_file_atomically(join_path(dir, "config.json"), json::dump(config)).ok());
  std::vector<const LooseTensor*> all;
  for (const auto& [name, tensor] : tensors) all.push_back(&tensor);
  write_shard(join_path(dir, "model.safetensors"), all);
}

}  // namespace baltoro::test
