// SPDX-License-Identifier: Apache-2.0
// The safetensors container (huggingface/safetensors README): 8 bytes little-endian header length, a JSON header of
// name -> {dtype, shape, data_offsets}, then the data, covered without holes or overlaps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "baltoro/base/file.h"
#include "baltoro/base/mapped_file.h"
#include "baltoro/base/result.h"
#include "baltoro/tensor/dtype.h"

namespace baltoro::model {

// Name, element type and shape of a tensor.
struct TensorInfo {
  std::string name;
  tensor::DType dtype = tensor::DType::kF32;
  std::vector<std::int64_t> shape;

  std::int64_t elements() const;  // product of shape; 1 for a scalar
  std::int64_t bytes() const;     // elements * size of dtype
};

std::string shape_text(std::span<const std::int64_t> shape);  // "[64, 128]"

// A tensor and its bytes in a mapped file.
struct TensorView {
  TensorInfo info;
  std::span<const std::byte> data;  // empty in a file that is not mapped
  std::int64_t offset = 0;          // of the data in the file
};

// Whether a file is mapped, or its header read and no more.
enum class FileAccess : std::uint8_t { kMapped, kHeader };

// A checked header: entry i's data lies at file offset data_begin + offsets[i], ascending, covering the file to its
// end.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;     // by ascending offset
  std::vector<std::uint64_t> offsets;  // from the end of the header
  std::uint64_t data_begin = 0;
  std::vector<std::pair<std::string, std::string>> metadata;
};

// Parses and checks the header of a file of `file_bytes` bytes of which `prefix` is the front (the whole header at
// least). kCorrupt names what is wrong: the length (2 bytes to 100 MB, inside the file), the JSON, repeated names, an
// unknown dtype, a rank over 8, a dimension of 0 or under, products over 63 bits, offsets that are reversed, do not fit
// the shape, overlap, leave holes or do not end where the file ends.
Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> prefix, std::uint64_t file_bytes);

// One file, mapped as a rule. Immutable; any thread.
class SafetensorsFile {
 public:
  static Result<SafetensorsFile> open(const std::string& path, FileAccess access = FileAccess::kMapped);

  const std::vector<TensorView>& tensors() const { return tensors_; }  // by ascending offset
  const TensorView* find(std::string_view name) const;                 // nullptr: no such tensor
  const std::vector<std::pair<std::string, std::string>>& metadata() const { return metadata_; }
  const std::string& path() const { return path_; }
  std::uint64_t file_bytes() const { return file_bytes_; }
  std::span<const std::byte> bytes() const { return file_ ? file_->bytes() : std::span<const std::byte>(); }  // mapped

  // Copies of a whole tensor's elements, checked: kCorrupt when it is absent or of another dtype. Mapped files only.
  Result<std::vector<float>> read_f32(std::string_view name) const;         // F32, BF16 or F16
  Result<std::vector<std::int32_t>> read_i32(std::string_view name) const;  // I32, or I64 whose values fit

 private:
  SafetensorsFile() = default;
  std::optional<MappedFile> file_;
  std::string path_;
  std::uint64_t file_bytes_ = 0;
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string_view, std::size_t> index_;
  std::vector<std::pair<std::string, std::string>> metadata_;
};

// Writes one file: names, dtypes and shapes first, data in any order and from any number of threads, as it comes.
// The file is PATH.tmp until finish().
class SafetensorsWriter {
 public:
  // kInvalidArgument: a repeated or empty name, a dimension under 1.
  static Result<SafetensorsWriter> create(const std::string& path, std::vector<TensorInfo> tensors,
                                          std::vector<std::pair<std::string, std::string>> metadata = {});
  // Bytes [offset, offset + bytes.size()) of tensor `index`. CHECKs that they lie inside it. Threads may call at once.
  Status write(std::size_t index, std::int64_t offset, std::span<const std::byte> bytes) const;
  // Syncs (or leaves that to the system, for what can be made again) and gives the file its name. What was never
  // written reads as zeros.
  enum class Durability : bool { kLazy, kSynced };
  Status finish(Durability durability = Durability::kSynced);

  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  std::uint64_t file_bytes() const { return file_bytes_; }

 private:
  SafetensorsWriter(OutputFile file, std::string path) : file_(std::move(file)), path_(std::move(path)) {}
  OutputFile file_;
  std::string path_;
  std::vector<TensorInfo> tensors_;
  std::vector<std::uint64_t> begin_;  // file offset of each tensor
  std::uint64_t file_bytes_ = 0;
};

// The header's bytes (length, JSON, padding to 8) for tensors laid out in the given order.
std::string safetensors_header(std::span<const TensorInfo> tensors,
                               std::span<const std::pair<std::string, std::string>> metadata);

}  // namespace baltoro::model
