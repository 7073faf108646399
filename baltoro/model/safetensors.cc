// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/safetensors.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <unordered_set>

#include "baltoro/base/json.h"

namespace baltoro::model {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the format's own library
constexpr std::size_t kMaxRank = 8;
constexpr std::size_t kLengthBytes = 8;

Error corrupt(std::string_view what) { return Error{Errc::kCorrupt, "[safetensors] " + std::string(what)}; }

// Names come from the file: shown shortened and escaped.
std::string quoted(std::string_view name) {
  std::string out;
  json::append_quoted(out, name.substr(0, 160));
  return out;
}

struct Entry {
  TensorInfo info;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

Status read_shape(const json::Value* shape, TensorInfo& info) {
  if (shape == nullptr || !shape->is_array()) return corrupt(quoted(info.name) + ": shape: an array expected");
  if (shape->as_array().size() > kMaxRank) {
    return corrupt(fmt::format("{}: at most {} dimensions expected, it has {}", quoted(info.name), kMaxRank,
                               shape->as_array().size()));
  }
  std::int64_t bytes = static_cast<std::int64_t>(tensor::dtype_bytes(info.dtype));
  for (const json::Value& dim : shape->as_array()) {
    if (dim.kind() != json::Kind::kInt || dim.as_int() < 1) {
      return corrupt(fmt::format("{}: dimensions of at least 1 expected, one is {}", quoted(info.name),
                                 json::dump(dim).substr(0, 64)));
    }
    if (__builtin_mul_overflow(bytes, dim.as_int(), &bytes)) {
      return corrupt(quoted(info.name) + ": the product of its dimensions exceeds 63 bits");
    }
    info.shape.push_back(dim.as_int());
  }
  return {};
}

Status read_offsets(const json::Value* offsets, Entry& entry) {
  const bool pair = offsets != nullptr && offsets->is_array() && offsets->as_array().size() == 2;
  for (std::size_t i = 0; i < 2; ++i) {
    const json::Value* one = pair ? &offsets->as_array()[i] : nullptr;
    if (one == nullptr || one->kind() != json::Kind::kInt || one->as_int() < 0) {
      return corrupt(fmt::format("{}: data_offsets: two integers of at least 0 expected, it has {}",
                                 quoted(entry.info.name),
                                 offsets == nullptr ? "none" : json::dump(*offsets).substr(0, 64)));
    }
    (i == 0 ? entry.begin : entry.end) = one->as_uint();
  }
  const auto bytes = static_cast<std::uint64_t>(entry.info.bytes());
  if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
    return corrupt(fmt::format("{}: {} bytes expected for {} {}, data_offsets [{}, {}] give another size",
                               quoted(entry.info.name), bytes, tensor::dtype_name(entry.info.dtype),
                               shape_text(entry.info.shape), entry.begin, entry.end));
  }
  return {};
}

Result<Entry> read_entry(const std::string& name, const json::Value& value) {
  Entry entry;
  entry.info.name = name;
  const json::Value* dtype = value.find("dtype");
  if (name.empty()) return corrupt("a tensor without a name");
  if (std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; })) {
    return corrupt(quoted(name) + ": a name without control characters expected");
  }
  if (dtype == nullptr || !dtype->is_string()) return corrupt(quoted(name) + ": dtype: a string expected");
  const auto known = tensor::dtype_from_name(dtype->as_string());
  if (!known) return corrupt(fmt::format("{}: unknown dtype {}", quoted(name), quoted(dtype->as_string())));
  entry.info.dtype = *known;
  BALTORO_TRY_STATUS(read_shape(value.find("shape"), entry.info));
  BALTORO_TRY_STATUS(read_offsets(value.find("data_offsets"), entry));
  return entry;
}

Status check_cover(const std::vector<Entry>& entries, std::uint64_t data_bytes) {
  std::uint64_t expected = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != expected) {
      return corrupt(fmt::format("{}: its data was expected at offset {}, it begins at {}: tensors {}",
                                 quoted(entry.info.name), expected, entry.begin,
                                 entry.begin < expected ? "overlap" : "leave a hole"));
    }
    if (entry.end > data_bytes) {
      return corrupt(fmt::format("{}: its data ends at offset {} but the file holds {} bytes of data (truncated?)",
                                 quoted(entry.info.name), entry.end, data_bytes));
    }
    expected = entry.end;
  }
  if (expected != data_bytes) {
    return corrupt(fmt::format("data of {} bytes expected after the header, the file holds {}", expected, data_bytes));
  }
  return {};
}

Status read_metadata(const json::Value& value, SafetensorsHeader& header) {
  if (!value.is_object()) return corrupt("__metadata__: an object expected");
  for (const auto& [key, text] : value.as_object()) {
    if (!text.is_string()) return corrupt("__metadata__: strings expected");
    header.metadata.emplace_back(key, text.as_string());
  }
  return {};
}

Result<std::uint64_t> header_length(std::span<const std::byte> prefix, std::uint64_t file_bytes) {
  if (file_bytes < kLengthBytes + 2 || prefix.size() < kLengthBytes) {
    return corrupt(fmt::format("10 bytes or more expected, the file has {}", file_bytes));
  }
  std::uint64_t length = 0;
  std::memcpy(&length, prefix.data(), sizeof length);
  if (length < 2 || length > kMaxHeaderBytes || length > file_bytes - kLengthBytes) {
    return corrupt(fmt::format("a header length in [2, {}] expected, the file gives {}: not a safetensors file?",
                               std::min(kMaxHeaderBytes, file_bytes - kLengthBytes), length));
  }
  if (length > prefix.size() - kLengthBytes) return corrupt("the header is cut off");
  return length;
}

}  // namespace

std::int64_t TensorInfo::elements() const {
  std::int64_t count = 1;
  for (const std::int64_t dim : shape) count *= dim;
  return count;
}

std::int64_t TensorInfo::bytes() const { return elements() * static_cast<std::int64_t>(tensor::dtype_bytes(dtype)); }

std::string shape_text(std::span<const std::int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

Result<SafetensorsHeader> parse_safetensors_header(std::span<const std::byte> prefix, std::uint64_t file_bytes) {
  BALTORO_TRY(const std::uint64_t length, header_length(prefix, file_bytes));
  const std::string_view text(reinterpret_cast<const char*>(prefix.data()) + kLengthBytes, length);
  if (text.front() != '{') return corrupt("a JSON object expected as header: not a safetensors file?");
  auto root = json::parse(text, {.max_bytes = kMaxHeaderBytes, .max_depth = 8});
  if (!root.ok()) return corrupt("header: " + root.error().message);

  SafetensorsHeader header;
  header.data_begin = kLengthBytes + length;
  std::vector<Entry> entries;
  entries.reserve(root->as_object().size());
  for (const auto& [name, value] : root->as_object()) {
    if (name == "__metadata__") {
      BALTORO_TRY_STATUS(read_metadata(value, header));
      continue;
    }
    BALTORO_TRY(Entry entry, read_entry(name, value));
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.begin < b.begin; });
  BALTORO_TRY_STATUS(check_cover(entries, file_bytes - header.data_begin));
  header.tensors.reserve(entries.size());
  header.offsets.reserve(entries.size());
  for (Entry& entry : entries) {
    header.tensors.push_back(std::move(entry.info));
    header.offsets.push_back(entry.begin);
  }
  return header;
}

namespace {

// The front of a file, up to the end of its header.
Result<std::string> read_header(const std::string& path, const OpenedFile& file) {
  std::string prefix;
  const auto read_up_to = [&](std::size_t bytes) -> Status {
    std::size_t done = prefix.size();
    prefix.resize(bytes);
    while (done < bytes) {
      const ssize_t got = ::pread(file.fd.get(), prefix.data() + done, bytes - done, static_cast<off_t>(done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return io_error("cannot read", path, got < 0 ? errno : EIO);
      done += static_cast<std::size_t>(got);
    }
    return {};
  };
  BALTORO_TRY_STATUS(read_up_to(std::min<std::uint64_t>(kLengthBytes, file.bytes)));
  std::uint64_t length = 0;
  if (prefix.size() < kLengthBytes) return prefix;  // the parser says what is wrong
  std::memcpy(&length, prefix.data(), sizeof length);
  if (length > kMaxHeaderBytes || length > file.bytes - kLengthBytes) return prefix;
  BALTORO_TRY_STATUS(read_up_to(kLengthBytes + length));
  return prefix;
}

}  // namespace

Result<SafetensorsFile> SafetensorsFile::open(const std::string& path, FileAccess access) {
  SafetensorsFile file;
  file.path_ = path;
  std::string prefix;
  std::span<const std::byte> bytes;
  if (access == FileAccess::kMapped) {
    BALTORO_TRY(file.file_, MappedFile::open(path));
    bytes = file.file_->bytes();
    file.file_bytes_ = bytes.size();
  } else {
    BALTORO_TRY(const OpenedFile opened, open_regular(path));
    BALTORO_TRY(prefix, read_header(path, opened));
    file.file_bytes_ = opened.bytes;
  }
  auto header = parse_safetensors_header(file.file_ ? bytes : std::as_bytes(std::span(prefix)), file.file_bytes_);
  if (!header.ok()) return Error{header.error().code, path + ": " + header.error().message};
  file.metadata_ = std::move(header->metadata);
  file.tensors_.reserve(header->tensors.size());
  for (std::size_t i = 0; i < header->tensors.size(); ++i) {
    TensorInfo& info = header->tensors[i];
    const std::uint64_t offset = header->data_begin + header->offsets[i];
    const auto data = file.file_ ? bytes.subspan(offset, static_cast<std::size_t>(info.bytes())) : bytes;
    file.tensors_.push_back(TensorView{std::move(info), data, static_cast<std::int64_t>(offset)});
  }
  file.index_.reserve(file.tensors_.size());
  for (std::size_t i = 0; i < file.tensors_.size(); ++i) file.index_.emplace(file.tensors_[i].info.name, i);
  return file;
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

namespace {

template <typename T>
T load(std::span<const std::byte> data, std::size_t index) {
  T value;
  std::memcpy(&value, data.data() + index * sizeof(T), sizeof(T));
  return value;
}

Error wrong_dtype(const std::string& path, std::string_view name, std::string_view expected, const TensorView* found) {
  return Error{Errc::kCorrupt,
               fmt::format("[safetensors] {}: tensor {} of dtype {} expected, {}", path, quoted(name), expected,
                           found == nullptr ? "there is none" : tensor::dtype_name(found->info.dtype))};
}

}  // namespace

Result<std::vector<float>> SafetensorsFile::read_f32(std::string_view name) const {
  using tensor::DType;
  const TensorView* view = find(name);
  const DType dtype = view == nullptr ? DType::kBool : view->info.dtype;
  if (dtype != DType::kF32 && dtype != DType::kBF16 && dtype != DType::kF16) {
    return wrong_dtype(path(), name, "F32, BF16 or F16", view);
  }
  std::vector<float> values(static_cast<std::size_t>(view->info.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = dtype == DType::kF32    ? load<float>(view->data, i)
                : dtype == DType::kBF16 ? tensor::bf16_to_f32(load<tensor::bf16>(view->data, i))
                                        : tensor::f16_to_f32(load<std::uint16_t>(view->data, i));
  }
  return values;
}

Result<std::vector<std::int32_t>> SafetensorsFile::read_i32(std::string_view name) const {
  using tensor::DType;
  const TensorView* view = find(name);
  if (view == nullptr || (view->info.dtype != DType::kI32 && view->info.dtype != DType::kI64)) {
    return wrong_dtype(path(), name, "I32 or I64", view);
  }
  std::vector<std::int32_t> values(static_cast<std::size_t>(view->info.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::int64_t value =
        view->info.dtype == DType::kI32 ? load<std::int32_t>(view->data, i) : load<std::int64_t>(view->data, i);
    if (value < std::numeric_limits<std::int32_t>::min() || value > std::numeric_limits<std::int32_t>::max()) {
      return corrupt(fmt::format("{}: tensor {}: 32-bit values expected, one is {}", path(), quoted(name), value));
    }
    values[i] = static_cast<std::int32_t>(value);
  }
  return values;
}

std::string safetensors_header(std::span<const TensorInfo> tensors,
                               std::span<const std::pair<std::string, std::string>> metadata) {
  std::string text = "{";
  if (!metadata.empty()) {
    json::Value values;
    for (const auto& [key, value] : metadata) values.set(key, value);
    text += "\"__metadata__\":" + json::dump(values) + (tensors.empty() ? "" : ",");
  }
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& info = tensors[i];
    if (i > 0) text += ",";
    json::append_quoted(text, info.name);
    text += fmt::format(R"(:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", tensor::dtype_name(info.dtype),
                        fmt::join(info.shape, ","), offset, offset + info.bytes());
    offset += info.bytes();
  }
  text += "}";
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
  const std::uint64_t length = text.size();
  std::string header(kLengthBytes, '\0');
  std::memcpy(header.data(), &length, sizeof length);
  return header + text;
}

Result<SafetensorsWriter> SafetensorsWriter::create(const std::string& path, std::vector<TensorInfo> tensors,
                                                    std::vector<std::pair<std::string, std::string>> metadata) {
  std::unordered_set<std::string_view> names;
  for (const TensorInfo& info : tensors) {
    const bool sized = std::all_of(info.shape.begin(), info.shape.end(), [](std::int64_t dim) { return dim >= 1; });
    if (info.name.empty() || info.name == "__metadata__" || !sized || !names.insert(info.name).second) {
      return Error{Errc::kInvalidArgument,
                   fmt::format("[safetensors] tensor {} {}: unique names and dimensions of at least 1 expected",
                               quoted(info.name), shape_text(info.shape))};
    }
  }
  const std::string header = safetensors_header(tensors, metadata);
  BALTORO_TRY(OutputFile file, OutputFile::create(path + ".tmp"));
  BALTORO_TRY_STATUS(file.write_at(0, std::as_bytes(std::span(header))));
  SafetensorsWriter writer(std::move(file), path);
  std::uint64_t offset = header.size();
  for (const TensorInfo& info : tensors) {
    writer.begin_.push_back(offset);
    offset += static_cast<std::uint64_t>(info.bytes());
  }
  writer.tensors_ = std::move(tensors);
  writer.file_bytes_ = offset;
  BALTORO_TRY_STATUS(writer.file_.resize(offset));
  return writer;
}

Status SafetensorsWriter::write(std::size_t index, std::int64_t offset, std::span<const std::byte> bytes) const {
  BALTORO_CHECK(index < tensors_.size() && offset >= 0 &&
                    offset + static_cast<std::int64_t>(bytes.size()) <= tensors_[index].bytes(),
                "safetensors write outside its tensor");
  return file_.write_at(begin_[index] + static_cast<std::uint64_t>(offset), bytes);
}

Status SafetensorsWriter::finish(Durability durability) {
  if (durability == Durability::kSynced) BALTORO_TRY_STATUS(file_.sync());
  return rename_file(path_ + ".tmp", path_);
}

}  // namespace baltoro::model
