// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/synth.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <optional>
#include <vector>

#include "baltoro/base/file.h"
#include "baltoro/base/json.h"
#include "baltoro/base/round_up.h"
#include "baltoro/base/sha256.h"
#include "baltoro/base/thread_pool.h"
#include "baltoro/model/config.h"
#include "baltoro/model/inventory.h"
#include "baltoro/model/safetensors.h"
#include "baltoro/model/synth_values.h"

namespace baltoro::model {
namespace {

using tensor::DType;

constexpr const char* kRecordName = "synth.json";  // what made the folder; makes resuming safe
constexpr std::int64_t kBlock = 128;               // FP8
constexpr std::int64_t kJobElements = std::int64_t{1} << 20;

enum class Storage : std::uint8_t { kPlain, kFp8, kInt4 };

// One weight with the tensors it becomes: consecutive entries of its shard from `first` on.
struct Piece {
  WeightSpec spec;
  Storage storage = Storage::kPlain;
  Spread spread = {};
  std::size_t first = 0;
};

struct Shard {
  std::vector<Piece> pieces;
  std::vector<TensorInfo> tensors;
  std::int64_t data_bytes = 0;
};

const char* scheme_name(QuantScheme quant) {
  switch (quant) {
    case QuantScheme::kBf16:
      return "bf16";
    case QuantScheme::kFp8:
      return "fp8";
    case QuantScheme::kInt4:
      return "int4";
  }
  return "?";
}

Storage storage_of(Role role, QuantScheme quant) {
  const Part part = part_of(role);
  if (is_vector(role) || part == Part::kRouter || part == Part::kEmbed || part == Part::kHead) return Storage::kPlain;
  if (quant == QuantScheme::kFp8) return Storage::kFp8;
  return quant == QuantScheme::kInt4 && part == Part::kExperts ? Storage::kInt4 : Storage::kPlain;
}

// Keeps a unit-variance stream through every layer: see synthesize().
Spread spread_of(const WeightSpec& spec, const ModelConfig& config) {
  const double unit = 1 / std::sqrt(static_cast<double>(spec.cols));
  const double residual = unit / std::sqrt(2.0 * static_cast<double>(config.num_hidden_layers));
  switch (spec.role) {
    case Role::kEmbed:
      return {0, 1};
    case Role::kHead:
      return {0, static_cast<float>(2 * unit)};
    case Role::kRouterBias:
      return {0, 0.01F};
    case Role::kO:
    case Role::kDenseDown:
    case Role::kExpertDown:
    case Role::kSharedDown:
      return {0, static_cast<float>(residual)};
    default:
      return is_vector(spec.role) ? Spread{1, 0.05F} : Spread{0, static_cast<float>(unit)};
  }
}

std::vector<TensorInfo> tensors_of(const Piece& piece, int group) {
  const auto& [role, layer, expert, rows, cols, name] = piece.spec;
  if (role == Role::kRouterBias) return {{name, DType::kF32, {rows}}};
  if (is_vector(role)) return {{name + ".weight", DType::kBF16, {rows}}};
  switch (piece.storage) {
    case Storage::kPlain:
      return {{name + ".weight", DType::kBF16, {rows, cols}}};
    case Storage::kFp8:
      return {{name + ".weight", DType::kF8E4M3, {rows, cols}},
              {name + ".weight_scale_inv", DType::kF32, {(rows + kBlock - 1) / kBlock, (cols + kBlock - 1) / kBlock}}};
    case Storage::kInt4:
      return {{name + ".weight_packed", DType::kI32, {rows, cols / 8}},
              {name + ".weight_scale", DType::kBF16, {rows, cols / group}},
              {name + ".weight_shape", DType::kI32, {2}}};
  }
  return {};
}

std::vector<Shard> plan_shards(const ModelConfig& config, const SynthOptions& options) {
  std::vector<Shard> shards(1);
  for (WeightSpec& spec : inventory(config)) {
    Piece piece{.spec = std::move(spec)};
    piece.storage = storage_of(piece.spec.role, options.quant);
    piece.spread = spread_of(piece.spec, config);
    std::vector<TensorInfo> tensors = tensors_of(piece, options.group_size);
    std::int64_t bytes = 0;
    for (const TensorInfo& info : tensors) bytes += info.bytes();
    if (!shards.back().pieces.empty() && shards.back().data_bytes + bytes > options.shard_bytes) shards.emplace_back();
    Shard& shard = shards.back();
    piece.first = shard.tensors.size();
    shard.pieces.push_back(std::move(piece));
    std::move(tensors.begin(), tensors.end(), std::back_inserter(shard.tensors));
    shard.data_bytes += bytes;
  }
  return shards;
}

std::string shard_name(std::size_t index, std::size_t count) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", index + 1, count);
}

// Some rows of one piece: the unit of work.
struct Job {
  const Piece* piece = nullptr;
  std::int64_t row = 0;
  std::int64_t rows = 0;
};

std::vector<Job> jobs_of(const Shard& shard, bool sparse) {
  std::vector<Job> jobs;
  for (const Piece& piece : shard.pieces) {
    if (sparse && !is_vector(piece.spec.role)) {
      jobs.push_back({&piece, 0, 0});
      continue;
    }
    std::int64_t step = std::max<std::int64_t>(1, kJobElements / piece.spec.cols);
    if (piece.storage == Storage::kFp8) step = round_up(step, kBlock);
    for (std::int64_t row = 0; row < piece.spec.rows; row += step) {
      jobs.push_back({&piece, row, std::min(step, piece.spec.rows - row)});
    }
  }
  return jobs;
}

// Fills and encodes one job with buffers that are used again.
class Maker {
 public:
  Maker(const SafetensorsWriter& writer, const SynthOptions& options) : writer_(writer), options_(options) {}

  // Bytes written, or the error.
  Result<std::int64_t> make(const Job& job) {
    const Piece& piece = *job.piece;
    written_ = 0;
    if (piece.storage == Storage::kInt4 && job.row == 0) BALTORO_TRY_STATUS(write_shape(piece));
    if (job.rows == 0) return written_;
    const std::uint64_t key = value_key(options_.seed, piece.spec.name);
    if (piece.storage == Storage::kFp8) {
      for (std::int64_t row = job.row; row < job.row + job.rows; row += kBlock) {
        BALTORO_TRY_STATUS(make_fp8(piece, key, row, std::min(kBlock, job.row + job.rows - row)));
      }
    } else if (piece.storage == Storage::kInt4) {
      BALTORO_TRY_STATUS(make_int4(piece, key, job));
    } else {
      BALTORO_TRY_STATUS(make_plain(piece, key, job));
    }
    return written_;
  }

 private:
  Status put(const Piece& piece, std::size_t which, std::int64_t offset, std::span<const std::byte> bytes) {
    written_ += static_cast<std::int64_t>(bytes.size());
    return writer_.write(piece.first + which, offset, bytes);
  }

  std::span<const float> fill(const Piece& piece, std::uint64_t key, std::int64_t row, std::int64_t rows) {
    values_.resize(static_cast<std::size_t>(rows * piece.spec.cols));
    fill_values(key, static_cast<std::uint64_t>(row * piece.spec.cols), piece.spread, values_);
    return values_;
  }

  Status write_shape(const Piece& piece) {
    const std::int32_t shape[2] = {static_cast<std::int32_t>(piece.spec.rows),
                                   static_cast<std::int32_t>(piece.spec.cols)};
    return put(piece, 2, 0, std::as_bytes(std::span(shape)));
  }

  Status make_plain(const Piece& piece, std::uint64_t key, const Job& job) {
    const auto values = fill(piece, key, job.row, job.rows);
    if (piece.spec.role == Role::kRouterBias) return put(piece, 0, job.row * 4, std::as_bytes(values));
    codes_.resize(values.size() * 2);
    encode_bf16(values, codes_.data());
    return put(piece, 0, job.row * piece.spec.cols * 2, codes_);
  }

  Status make_fp8(const Piece& piece, std::uint64_t key, std::int64_t row, std::int64_t rows) {
    const auto values = fill(piece, key, row, rows);
    const std::int64_t scale_bytes = (piece.spec.cols + kBlock - 1) / kBlock * 4;
    codes_.resize(values.size());
    scales_.resize(static_cast<std::size_t>(scale_bytes));
    encode_fp8_band(values, {.rows = rows, .cols = piece.spec.cols, .block_cols = kBlock}, codes_.data(),
                    scales_.data());
    BALTORO_TRY_STATUS(put(piece, 0, row * piece.spec.cols, codes_));
    return put(piece, 1, row / kBlock * scale_bytes, scales_);
  }

  Status make_int4(const Piece& piece, std::uint64_t key, const Job& job) {
    const auto values = fill(piece, key, job.row, job.rows);
    const auto cols = static_cast<std::size_t>(piece.spec.cols);
    const std::size_t code_bytes = cols / 2;
    const std::size_t scale_bytes = cols / static_cast<std::size_t>(options_.group_size) * 2;
    codes_.resize(static_cast<std::size_t>(job.rows) * code_bytes);
    scales_.resize(static_cast<std::size_t>(job.rows) * scale_bytes);
    for (std::size_t r = 0; r < static_cast<std::size_t>(job.rows); ++r) {
      encode_int4_row(values.subspan(r * cols, cols), options_.group_size, codes_.data() + r * code_bytes,
                      scales_.data() + r * scale_bytes);
    }
    BALTORO_TRY_STATUS(put(piece, 0, job.row * static_cast<std::int64_t>(code_bytes), codes_));
    return put(piece, 1, job.row * static_cast<std::int64_t>(scale_bytes), scales_);
  }

  const SafetensorsWriter& writer_;
  const SynthOptions& options_;
  std::vector<float> values_;
  std::vector<std::byte> codes_, scales_;
  std::int64_t written_ = 0;
};

Status write_shard(const Shard& shard, const std::string& path, const SynthOptions& options, ThreadPool& pool,
                   Progress& progress) {
  BALTORO_TRY(SafetensorsWriter writer, SafetensorsWriter::create(path, shard.tensors, {{"format", "pt"}}));
  const std::vector<Job> jobs = jobs_of(shard, options.sparse);
  std::vector<Maker> makers(static_cast<std::size_t>(pool.size()), Maker(writer, options));
  std::mutex failing;
  std::optional<Error> error;
  pool.parallel_for(static_cast<std::int64_t>(jobs.size()), 1, [&](std::int64_t begin, std::int64_t end, int worker) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto made = makers[static_cast<std::size_t>(worker)].make(jobs[static_cast<std::size_t>(i)]);
      if (made.ok()) {
        progress.add(static_cast<std::uint64_t>(*made));
        continue;
      }
      const std::lock_guard lock(failing);
      if (!error) error = made.error();
      return;
    }
  });
  if (error) return *error;
  return writer.finish(options.sparse ? SafetensorsWriter::Durability::kLazy : SafetensorsWriter::Durability::kSynced);
}

// Whether `path` already is this shard, finished.
bool is_finished(const Shard& shard, const std::string& path) {
  if (!file_exists(path)) return false;
  const auto file = SafetensorsFile::open(path);
  if (!file.ok() || file->tensors().size() != shard.tensors.size()) return false;
  for (std::size_t i = 0; i < shard.tensors.size(); ++i) {
    const TensorInfo& found = file->tensors()[i].info;
    const TensorInfo& wanted = shard.tensors[i];
    if (found.name != wanted.name || found.dtype != wanted.dtype || found.shape != wanted.shape) return false;
  }
  return true;
}

json::Value quantization_config(const SynthOptions& options) {
  if (options.quant == QuantScheme::kFp8) {
    return json::Object{{"activation_scheme", "dynamic"},
                        {"fmt", "e4m3"},
                        {"quant_method", "fp8"},
                        {"weight_block_size", json::Array{128, 128}}};
  }
  json::Object weights{{"num_bits", 4},
                       {"type", "int"},
                       {"symmetric", true},
                       {"strategy", "group"},
                       {"group_size", options.group_size},
                       {"dynamic", false},
                       {"actorder", nullptr},
                       {"block_structure", nullptr},
                       {"observer", "minmax"}};
  json::Object group{{"input_activations", nullptr},
                     {"output_activations", nullptr},
                     {"targets", json::Array{"Linear"}},
                     {"weights", std::move(weights)}};
  return json::Object{{"config_groups", json::Object{{"group_0", std::move(group)}}},
                      {"format", "pack-quantized"},
                      {"ignore", json::Array{"lm_head", "re:.*self_attn.*", "re:.*shared_experts.*",
                                             "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"}},
                      {"kv_cache_scheme", nullptr},
                      {"quant_method", "compressed-tensors"},
                      {"quantization_status", "compressed"}};
}

// The given config with the chosen quantisation in place of its own.
Result<json::Value> released_config(const SynthOptions& options) {
  auto root = json::parse(options.config_json, {.max_bytes = std::size_t{16} << 20, .max_depth = 64});
  if (!root.ok() || !root->is_object()) {
    return Error{Errc::kInvalidArgument,
                 "[synth] a config.json object expected" + (root.ok() ? std::string() : ": " + root.error().message)};
  }
  json::Value* text = root->find("text_config");
  if (text == nullptr || !text->is_object()) text = &*root;
  for (json::Value* level : {&*root, text}) {
    std::erase_if(level->as_object(), [](const json::Member& member) { return member.first == "quantization_config"; });
  }
  if (options.quant != QuantScheme::kBf16) text->set("quantization_config", quantization_config(options));
  return std::move(*root);
}

Status check_fit(const ModelConfig& config, const SynthOptions& options) {
  if (options.shard_bytes < 1) return Error{Errc::kInvalidArgument, "[synth] a shard size of at least 1 byte expected"};
  if (options.quant != QuantScheme::kInt4 || config.n_routed_experts == 0) return {};
  for (const std::int64_t width : {config.hidden_size, config.moe_intermediate_size}) {
    if (options.group_size < 2 || options.group_size % 2 != 0 || width % options.group_size != 0 || width % 8 != 0) {
      return Error{Errc::kInvalidArgument,
                   fmt::format("[synth] int4: hidden_size and moe_intermediate_size that are multiples of 8 and of an "
                               "even group size expected, got {} and group size {}",
                               width, options.group_size)};
    }
  }
  return {};
}

json::Value record_of(const SynthOptions& options, const std::string& config_text) {
  return json::Object{{"format", 1},
                      {"seed", options.seed},
                      {"quant", scheme_name(options.quant)},
                      {"group_size", options.group_size},
                      {"shard_bytes", options.shard_bytes},
                      {"sparse", options.sparse},
                      {"config_sha256", to_hex(sha256(std::as_bytes(std::span(config_text))))}};
}

// Makes the folder ours: new or empty, or left by a run with the same record.
Status claim_folder(const std::string& out, const json::Value& record) {
  BALTORO_TRY_STATUS(make_directories(out));
  BALTORO_TRY(const std::vector<std::string> names, list_directory(out));
  const std::string path = join_path(out, kRecordName);
  if (names.empty()) return write_file_atomically(path, json::dump(record, {.colon = ": ", .indent = 2}) + "\n");
  if (!file_exists(path)) {
    return Error{Errc::kPermissionDenied,
                 fmt::format("[synth] {}: an empty folder expected, it holds {} and is not of synth's making", out,
                             names.front())};
  }
  BALTORO_TRY(const std::string text, read_file(path, 1 << 16));
  const auto found = json::parse(text);
  if (!found.ok() || !(*found == record)) {
    return Error{Errc::kPermissionDenied,
                 fmt::format("[synth] {}: made with other parameters: {} expected, {} has {}", out, json::dump(record),
                             kRecordName, found.ok() ? json::dump(*found) : "no JSON")};
  }
  return {};
}

Status write_index(const std::vector<Shard>& shards, const std::string& out) {
  std::int64_t total = 0;
  json::Object map;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    total += shards[i].data_bytes;
    for (const TensorInfo& info : shards[i].tensors) map.emplace_back(info.name, shard_name(i, shards.size()));
  }
  std::sort(map.begin(), map.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  const json::Value index =
      json::Object{{"metadata", json::Object{{"total_size", total}}}, {"weight_map", std::move(map)}};
  return write_file_atomically(join_path(out, "model.safetensors.index.json"),
                               json::dump(index, {.colon = ": ", .indent = 2}) + "\n");
}

Status write_generation_config(const ModelConfig& config, const std::string& out) {
  json::Value generation;
  generation.set("max_length", config.max_position_embeddings);
  if (config.eos_token_ids.size() == 1) generation.set("eos_token_id", config.eos_token_ids.front());
  if (config.eos_token_ids.size() > 1) {
    generation.set("eos_token_id", json::Array(config.eos_token_ids.begin(), config.eos_token_ids.end()));
  }
  return write_file_atomically(join_path(out, "generation_config.json"),
                               json::dump(generation, {.colon = ": ", .indent = 2}) + "\n");
}

Status check_room(const std::string& out, std::uint64_t bytes) {
  BALTORO_TRY(const std::uint64_t room, free_bytes(out));
  if (bytes <= room) return {};
  return Error{Errc::kResourceExhausted, fmt::format("[synth] {}: {} expected on the disk, it has {} free", out,
                                                     format_bytes(bytes), format_bytes(room))};
}

}  // namespace

Result<SynthReport> synthesize(const SynthOptions& options) {
  BALTORO_TRY(const json::Value released, released_config(options));
  const std::string config_text = json::dump(released, {.colon = ": ", .indent = 2}) + "\n";
  BALTORO_TRY(const ModelConfig config, parse_config(config_text));
  BALTORO_TRY_STATUS(check_fit(config, options));
  BALTORO_TRY_STATUS(claim_folder(options.out, record_of(options, config_text)));

  const std::vector<Shard> shards = plan_shards(config, options);
  SynthReport report{.shards = static_cast<int>(shards.size())};
  std::vector<bool> finished;
  std::uint64_t done = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    finished.push_back(is_finished(shards[i], join_path(options.out, shard_name(i, shards.size()))));
    report.bytes += static_cast<std::uint64_t>(shards[i].data_bytes);
    if (!finished[i]) continue;
    done += static_cast<std::uint64_t>(shards[i].data_bytes);
    ++report.shards_kept;
  }
  if (!options.sparse) BALTORO_TRY_STATUS(check_room(options.out, report.bytes - done));

  Progress progress({.label = "synth", .total = report.bytes, .done_before = done, .style = options.progress});
  ThreadPool pool(options.threads);
  for (std::size_t i = 0; i < shards.size(); ++i) {
    if (finished[i]) continue;
    const std::string path = join_path(options.out, shard_name(i, shards.size()));
    BALTORO_TRY_STATUS(write_shard(shards[i], path, options, pool, progress));
  }
  report.bytes_written = progress.done() - done;
  progress.finish();
  BALTORO_TRY_STATUS(write_index(shards, options.out));
  BALTORO_TRY_STATUS(write_generation_config(config, options.out));
  BALTORO_TRY_STATUS(write_file_atomically(join_path(options.out, "config.json"), config_text));
  report.seconds = progress.elapsed_s();
  return report;
}

}  // namespace baltoro::model
