// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "baltoro/base/file.h"
#include "baltoro/base/json.h"

namespace baltoro::model {
namespace {

constexpr std::uint64_t kMaxIndexBytes = std::uint64_t{256} << 20;
constexpr std::size_t kMaxShards = 10'000;

Error corrupt(std::string_view path, std::string_view what) {
  return Error{Errc::kCorrupt, fmt::format("[checkpoint] {}: {}", path, what)};
}

std::string quoted(std::string_view text) {
  std::string out;
  json::append_quoted(out, text.substr(0, 160));
  return out;
}

// A plain file name: what an index may hold. No path can be built from it that leaves the folder.
bool is_shard_name(std::string_view name) {
  return !name.empty() && name.size() <= 255 && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos && name.front() != '.' && name.ends_with(".safetensors");
}

// Tensor -> shard, shards numbered by name.
struct ShardMap {
  std::vector<std::string> shards;
  std::vector<std::pair<std::string, int>> tensors;
};

Result<ShardMap> read_weight_map(const std::string& path) {
  BALTORO_TRY(const std::string text, read_file(path, kMaxIndexBytes));
  auto root = json::parse(text, {.max_bytes = kMaxIndexBytes, .max_depth = 16});
  if (!root.ok()) return corrupt(path, root.error().message);
  json::Value* map = root->find("weight_map");
  if (map == nullptr || !map->is_object() || map->as_object().empty()) {
    return corrupt(path, "weight_map: an object of tensor to file expected");
  }
  std::map<std::string, int> numbers;
  for (const auto& [name, file] : map->as_object()) {
    if (!file.is_string() || !is_shard_name(file.as_string())) {
      return corrupt(path,
                     fmt::format("weight_map {}: the name of a .safetensors file in this folder expected, it has {}",
                                 quoted(name), quoted(file.is_string() ? file.as_string() : json::dump(file))));
    }
    numbers.emplace(file.as_string(), 0);
  }
  if (numbers.size() > kMaxShards) {
    return corrupt(path, fmt::format("at most {} shards expected, it has {}", kMaxShards, numbers.size()));
  }
  ShardMap result;
  for (auto& [file, number] : numbers) {
    number = static_cast<int>(result.shards.size());
    result.shards.push_back(file);
  }
  result.tensors.reserve(map->as_object().size());
  for (auto& [name, file] : map->as_object()) result.tensors.emplace_back(std::move(name), numbers[file.as_string()]);
  return result;
}

Error no_checkpoint(const std::string& dir) {
  std::string found = "it has neither";
  if (auto names = list_directory(dir); names.ok()) {
    for (const std::string& name : *names) {
      if (name.ends_with(".gguf") || name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth")) {
        found = name + " is not a safetensors checkpoint";
        break;
      }
    }
  }
  return Error{Errc::kNotFound, fmt::format("[checkpoint] {}: model.safetensors.index.json or model.safetensors "
                                            "expected, {}",
                                            dir, found)};
}

}  // namespace

Status Checkpoint::add_shard(const std::string& file_name, bool indexed) {
  BALTORO_TRY(SafetensorsFile file, SafetensorsFile::open(join_path(dir_, file_name), access_));
  shards_.push_back(std::move(file));
  const int shard = static_cast<int>(shards_.size()) - 1;
  for (const TensorView& view : shards_.back().tensors()) {
    const auto [place, fresh] = tensors_.emplace(view.info.name, Tensor{&view, shard, indexed});
    if (!fresh) {
      const auto& other = shards_[static_cast<std::size_t>(place->second.shard)];
      return corrupt(shards_.back().path(),
                     fmt::format("tensor {} is in {} too", quoted(view.info.name), other.path()));
    }
  }
  return {};
}

Status Checkpoint::open_index(const std::string& path) {
  BALTORO_TRY(const ShardMap map, read_weight_map(path));
  shards_.reserve(map.shards.size());  // views point into shards_: it must not move
  tensors_.reserve(map.tensors.size());
  for (const std::string& shard : map.shards) BALTORO_TRY_STATUS(add_shard(shard, false));
  for (const auto& [name, shard] : map.tensors) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end() || found->second.shard != shard) {
      const std::string place = found == tensors_.end()
                                    ? "no shard holds it"
                                    : "it is in " + shards_[static_cast<std::size_t>(found->second.shard)].path();
      return corrupt(path, fmt::format("tensor {} expected in {}, {}", quoted(name),
                                       map.shards[static_cast<std::size_t>(shard)], place));
    }
    found->second.indexed = true;
  }
  return {};
}

Result<std::shared_ptr<const Checkpoint>> Checkpoint::open(const std::string& dir, FileAccess access) {
  std::shared_ptr<Checkpoint> checkpoint(new Checkpoint());
  checkpoint->dir_ = dir;
  checkpoint->access_ = access;
  const std::string index = join_path(dir, "model.safetensors.index.json");
  const std::string single = join_path(dir, "model.safetensors");
  if (file_exists(index)) {
    BALTORO_TRY_STATUS(checkpoint->open_index(index));
  } else if (file_exists(single)) {
    checkpoint->shards_.reserve(1);
    BALTORO_TRY_STATUS(checkpoint->add_shard("model.safetensors", true));
  } else {
    return no_checkpoint(dir);
  }
  return std::shared_ptr<const Checkpoint>(std::move(checkpoint));
}

const TensorView* Checkpoint::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second.view;
}

std::uint64_t Checkpoint::file_bytes() const {
  std::uint64_t bytes = 0;
  for (const SafetensorsFile& shard : shards_) bytes += shard.file_bytes();
  return bytes;
}

}  // namespace baltoro::model
