// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/streamed_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <span>
#include <utility>

#include "baltoro/base/direct_reader.h"
#include "baltoro/model/binding.h"
#include "baltoro/model/checkpoint.h"
#include "baltoro/model/memory_plan.h"
#include "baltoro/model/place_weights.h"

namespace baltoro::model {
namespace {

constexpr std::int64_t kReadBytes = 16 << 20;  // a read of the loading, so that its progress can be seen

bool is_expert(Role role) { return role == Role::kExpertGate || role == Role::kExpertUp || role == Role::kExpertDown; }

FileRange range_of(const Checkpoint& files, const TensorView* tensor) {
  if (tensor == nullptr) return {};
  return {.file = files.tensors().at(tensor->info.name).shard, .offset = tensor->offset, .bytes = tensor->info.bytes()};
}

// Reads all extents of a layout into memory and waits for it.
class Loading {
 public:
  Loading(std::uint64_t bytes, ProgressStyle style) : progress_({.label = "weights", .total = bytes, .style = style}) {}

  Status run(const std::vector<std::string>& paths, std::span<const Extent> extents, std::byte* memory) {
    std::vector<BlockRead> reads;
    for (const Extent& extent : extents) {
      for (std::int64_t done = 0; done < extent.bytes; done += kReadBytes) {
        reads.push_back({.tag = static_cast<std::uint32_t>(reads.size()),
                         .file = extent.file,
                         .offset = extent.offset + done,
                         .bytes = std::min(kReadBytes, extent.bytes - done),
                         .into = memory + extent.at + done});
      }
    }
    if (reads.empty()) return {};
    left_ = reads.size();
    const auto done = [&](std::uint32_t tag, Status status) { ended(reads[tag], std::move(status)); };
    BALTORO_TRY(const auto reader, open_direct_reader(paths, done, {.tags = static_cast<std::uint32_t>(reads.size())}));
    for (const BlockRead& read : reads) reader->read(read, Urgency::kNow);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return left_ == 0 || !status_.ok(); });
    progress_.finish();
    return status_;
  }

 private:
  void ended(const BlockRead& read, Status status) {
    progress_.add(static_cast<std::uint64_t>(read.bytes));
    const std::lock_guard lock(mutex_);
    --left_;
    if (!status.ok() && status_.ok()) status_ = std::move(status);
    changed_.notify_one();
  }

  Progress progress_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t left_ = 0;
  Status status_;
};

// The experts' places, and the ranges of everything else: two a spec, data and scale.
struct Places {
  std::vector<std::vector<ExpertRanges>> experts;
  std::vector<FileRange> resident;
};

Places find_places(const ModelConfig& config, const Checkpoint& files, const Binding& binding) {
  Places places;
  places.experts.resize(static_cast<std::size_t>(config.num_hidden_layers));
  for (std::int64_t l = 0; l < config.num_hidden_layers; ++l) {
    if (config.is_moe_layer(l)) {
      places.experts[static_cast<std::size_t>(l)].resize(static_cast<std::size_t>(config.n_routed_experts));
    }
  }
  places.resident.resize(binding.specs.size() * 2);
  for (std::size_t i = 0; i < binding.specs.size(); ++i) {
    const WeightSpec& spec = binding.specs[i];
    FileRange* pair = &places.resident[2 * i];
    if (is_expert(spec.role)) {
      const std::size_t which = spec.role == Role::kExpertGate ? 0 : spec.role == Role::kExpertUp ? 2 : 4;
      auto& layer = places.experts[static_cast<std::size_t>(spec.layer)];
      pair = &layer[static_cast<std::size_t>(spec.expert)].ranges[which];
    }
    pair[0] = range_of(files, binding.stored[i].data);
    pair[1] = range_of(files, binding.stored[i].scale);
  }
  return places;
}

}  // namespace

Result<std::unique_ptr<const Weights>> open_streamed_weights(const std::string& dir, std::int64_t limit_bytes,
                                                             ProgressStyle progress) {
  BALTORO_TRY(ModelConfig config, load_config(dir));
  BALTORO_TRY(const std::shared_ptr<const Checkpoint> files, Checkpoint::open(dir, FileAccess::kHeader));
  Binding binding = bind(config, *files);
  BALTORO_TRY_STATUS(check_problems(binding, dir));
  auto streamed = std::make_shared<StreamedWeights>();
  for (const SafetensorsFile& shard : files->shards()) streamed->paths.push_back(shard.path());
  Places places = find_places(config, *files, binding);
  streamed->experts = std::move(places.experts);
  const RangeLayout layout = lay_out_ranges(places.resident);
  if (layout.bytes > limit_bytes) {
    return Error{Errc::kResourceExhausted,
                 fmt::format("[memory] the weights that stay in memory (all but the routed experts) take {}, the limit "
                             "leaves {} for them. Raise --memory",
                             format_bytes(static_cast<std::uint64_t>(layout.bytes)),
                             format_bytes(static_cast<std::uint64_t>(std::max<std::int64_t>(limit_bytes, 0))))};
  }
  BALTORO_TRY(streamed->resident, HugeBuffer::create(static_cast<std::size_t>(layout.bytes)));
  BALTORO_TRY_STATUS(Loading(static_cast<std::uint64_t>(layout.bytes), progress)
                         .run(streamed->paths, layout.extents, streamed->resident->data()));
  for (std::size_t i = 0; i < binding.specs.size(); ++i) {
    if (is_expert(binding.specs[i].role)) continue;
    tensor::MatrixView& matrix = binding.stored[i].matrix;
    matrix.data = streamed->resident->data() + layout.at[2 * i];
    if (binding.stored[i].scale != nullptr) matrix.scale = streamed->resident->data() + layout.at[2 * i + 1];
  }
  BALTORO_TRY(std::unique_ptr<Weights> weights, place_weights(std::move(config), binding));
  weights->streamed = std::move(streamed);
  return std::unique_ptr<const Weights>(std::move(weights));
}

Result<std::shared_ptr<const Weights>> open_weights_within(const std::string& dir, std::int64_t memory_bytes) {
  auto opened = memory_bytes == 0 ? open_weights(dir) : open_streamed_weights(dir, memory_bytes - kProcessBytes);
  if (!opened.ok()) return std::move(opened).error();
  return std::shared_ptr<const Weights>(*std::move(opened));
}

}  // namespace baltoro::model
