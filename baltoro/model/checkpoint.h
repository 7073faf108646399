// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/model/safetensors.h"

namespace baltoro::model {

// The shards of a released folder, mapped as a rule: model.safetensors.index.json with the files it names, or a lone
// model.safetensors. Immutable; any thread. Nothing beyond the headers is read at opening.
class Checkpoint {
 public:
  struct Tensor {
    const TensorView* view = nullptr;
    int shard = 0;
    bool indexed = true;  // the index names it (always, without an index)
  };

  // kNotFound: no folder, index or shard. kCorrupt: an index that is malformed, names a file outside the folder or puts
  // a tensor where it is not; a shard with a bad header; a tensor in two shards. Messages name file and tensor.
  // Shards may be symbolic links (download caches link to their blobs).
  static Result<std::shared_ptr<const Checkpoint>> open(const std::string& dir,
                                                        FileAccess access = FileAccess::kMapped);

  const std::string& dir() const { return dir_; }
  const std::vector<SafetensorsFile>& shards() const { return shards_; }
  const std::unordered_map<std::string_view, Tensor>& tensors() const { return tensors_; }
  const TensorView* find(std::string_view name) const;  // nullptr: no such tensor
  std::uint64_t file_bytes() const;                     // of all shards

 private:
  Checkpoint() = default;
  Status add_shard(const std::string& file_name, bool indexed);
  Status open_index(const std::string& path);
  std::string dir_;
  FileAccess access_ = FileAccess::kMapped;
  std::vector<SafetensorsFile> shards_;
  std::unordered_map<std::string_view, Tensor> tensors_;
};

}  // namespace baltoro::model
