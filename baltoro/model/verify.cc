// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/verify.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <mutex>
#include <optional>

#include "baltoro/base/file.h"
#include "baltoro/base/hex.h"
#include "baltoro/base/mapped_file.h"
#include "baltoro/base/thread_pool.h"

namespace baltoro::model {
namespace {

using tensor::DType;

constexpr std::size_t kListedProblems = 100;
constexpr std::size_t kChunkBytes = std::size_t{1} << 20;  // scanned while it is in the cache, then hashed
constexpr std::uint64_t kMaxJournalBytes = std::uint64_t{512} << 20;
constexpr std::string_view kJournalTitle = "baltoro verify journal 1 ";

// Counts elements whose bits, masked, equal `special` or more (all exponents set), and those with the sign bit.
template <typename Bits>
TensorScan scan_bits(std::span<const std::byte> data, Bits magnitude_mask, Bits first_special, bool count_negative) {
  TensorScan scan;
  const std::size_t count = data.size() / sizeof(Bits);
  std::int64_t special = 0;
  std::int64_t negative = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Bits bits;
    std::memcpy(&bits, data.data() + i * sizeof(Bits), sizeof(Bits));
    const auto magnitude = static_cast<Bits>(bits & magnitude_mask);
    special += magnitude >= first_special ? 1 : 0;
    negative += magnitude != bits && magnitude != 0 ? 1 : 0;
  }
  scan.not_finite = special;
  if (count_negative) scan.negative = negative;
  return scan;
}

bool is_scale(std::string_view name) { return name.ends_with(".weight_scale") || name.ends_with(".weight_scale_inv"); }

TensorScan read_tensor(const TensorView& view, Progress& progress) {
  TensorScan total;
  Sha256 hash;
  advise_sequential(view.data);
  for (std::size_t begin = 0; begin < view.data.size(); begin += kChunkBytes) {
    const auto chunk = view.data.subspan(begin, std::min(kChunkBytes, view.data.size() - begin));
    const TensorScan part = scan_values(view.info.dtype, chunk, is_scale(view.info.name));
    total.not_finite += part.not_finite;
    total.negative += part.negative;
    hash.update(chunk);
    progress.add(chunk.size());
  }
  advise_dont_need(view.data);
  total.digest = hash.finish();
  return total;
}

std::optional<Sha256Digest> parse_digest(std::string_view hex) {
  Sha256Digest digest;
  if (!read_hex(hex, digest)) return std::nullopt;
  return digest;
}

// Takes the text up to the next `stop` off the front of `rest`.
std::string_view take(std::string_view& rest, char stop) {
  const std::string_view part = rest.substr(0, rest.find(stop));
  rest.remove_prefix(std::min(rest.size(), part.size() + 1));
  return part;
}

// Remembers finished tensors: journal_title(), then "sha256 not_finite negative name" lines.
class Journal {
 public:
  // Reads what an earlier run with the same files left, else begins anew.
  static Result<Journal> open(const std::string& path, const std::string& title) {
    Journal journal;
    journal.path_ = path;
    if (path.empty()) return journal;
    std::string kept;
    if (file_exists(path)) {
      BALTORO_TRY(const std::string text, read_file(path, kMaxJournalBytes));
      if (!text.starts_with(kJournalTitle)) {
        return Error{Errc::kPermissionDenied, fmt::format("[verify] {}: a journal expected, it is another file", path)};
      }
      if (text.starts_with(title)) kept = journal.read_lines(std::string_view(text).substr(title.size()));
    }
    BALTORO_TRY_STATUS(write_file_atomically(path, title + kept));  // without a torn last line
    journal.fd_ = FileDescriptor(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (!journal.fd_.open()) return io_error("cannot write", path, errno);
    return journal;
  }

  const std::map<std::string, TensorScan>& done() const { return done_; }

  void add(const std::string& name, const TensorScan& scan) const {
    if (!fd_.open()) return;
    const std::string line = fmt::format("{} {} {} {}\n", to_hex(scan.digest), scan.not_finite, scan.negative, name);
    // A lost line costs reading one tensor again.
    if (::write(fd_.get(), line.data(), line.size()) < 0) return;
  }

  Status remove() const { return path_.empty() ? Status() : remove_file(path_); }

 private:
  std::string read_lines(std::string_view text) {
    std::string kept;
    while (text.find('\n') != std::string_view::npos) {
      const std::string_view line = take(text, '\n');
      std::string_view rest = line;
      TensorScan scan;
      const auto digest = parse_digest(take(rest, ' '));
      const std::string_view not_finite = take(rest, ' ');
      const std::string_view negative = take(rest, ' ');
      std::from_chars(not_finite.data(), not_finite.data() + not_finite.size(), scan.not_finite);
      std::from_chars(negative.data(), negative.data() + negative.size(), scan.negative);
      if (!digest || rest.empty()) continue;
      scan.digest = *digest;
      done_[std::string(rest)] = scan;
      kept.append(line).push_back('\n');
    }
    return kept;
  }

  std::string path_;
  FileDescriptor fd_;
  std::map<std::string, TensorScan> done_;
};

Status read_all(const Checkpoint& checkpoint, const VerifyOptions& options, VerifyReport& report) {
  BALTORO_TRY(const Journal journal, Journal::open(options.journal, journal_title(checkpoint)));
  std::vector<const TensorView*> left;
  std::uint64_t total = 0;
  std::uint64_t before = 0;
  for (const SafetensorsFile& shard : checkpoint.shards()) {
    for (const TensorView& view : shard.tensors()) {
      total += view.data.size();
      const auto known = journal.done().find(view.info.name);
      if (known == journal.done().end()) {
        left.push_back(&view);
        continue;
      }
      report.tensors.insert(*known);
      before += view.data.size();
      ++report.resumed;
    }
  }
  Progress progress({.label = "verify", .total = total, .done_before = before, .style = options.progress});
  ThreadPool pool(options.threads);
  std::mutex reporting;
  pool.parallel_for(static_cast<std::int64_t>(left.size()), 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      const TensorView& view = *left[static_cast<std::size_t>(i)];
      const TensorScan scan = read_tensor(view, progress);
      const std::lock_guard lock(reporting);
      journal.add(view.info.name, scan);
      report.tensors.emplace(view.info.name, scan);
    }
  });
  progress.finish();
  report.seconds = progress.elapsed_s();
  return journal.remove();
}

void report_values(const ModelConfig& config, const Binding& binding, VerifyReport& report) {
  for (const auto& [name, scan] : report.tensors) {
    report.negative_scales += scan.negative;
    if (scan.not_finite > 0 && !is_ignored_tensor(config, name)) {
      report.add_problem(name, fmt::format("finite values expected, {} are NaN or infinite", scan.not_finite));
    }
  }
  for (std::size_t i = 0; i < binding.specs.size(); ++i) {
    if (auto problem = check_weight_shape(binding.specs[i], binding.stored[i])) {
      report.add_problem(problem->tensor, std::move(problem->message));
    }
  }
}

}  // namespace

std::string journal_title(const Checkpoint& checkpoint) {
  std::string text;
  for (const SafetensorsFile& shard : checkpoint.shards()) {
    struct stat info = {};
    if (::stat(shard.path().c_str(), &info) != 0) info = {};
    text += fmt::format("{} {} {} {}\n", shard.path(), shard.file_bytes(), info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
  }
  return std::string(kJournalTitle) + to_hex(sha256(std::as_bytes(std::span(text)))) + "\n";
}

void VerifyReport::add_problem(std::string_view tensor, std::string message) {
  ++problem_count;
  if (problems.size() < kListedProblems) problems.push_back({std::string(tensor), std::move(message)});
}

TensorScan scan_values(DType dtype, std::span<const std::byte> data, bool count_negative) {
  switch (dtype) {
    case DType::kF32:
      return scan_bits<std::uint32_t>(data, 0x7FFFFFFFu, 0x7F800000u, count_negative);
    case DType::kBF16:
      return scan_bits<std::uint16_t>(data, 0x7FFFu, 0x7F80u, count_negative);
    case DType::kF16:
      return scan_bits<std::uint16_t>(data, 0x7FFFu, 0x7C00u, count_negative);
    case DType::kF8E4M3:
      return scan_bits<std::uint8_t>(data, 0x7Fu, 0x7Fu, count_negative);
    default:
      return {};
  }
}

Result<VerifyReport> verify_checkpoint(const VerifyOptions& options) {
  BALTORO_TRY(const ModelConfig config, load_config(options.dir));
  BALTORO_TRY(const std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::open(options.dir));
  Binding binding = bind(config, *checkpoint);
  VerifyReport report;
  report.problems = std::move(binding.problems);
  report.problem_count = binding.problem_count;
  report.tensor_count = static_cast<std::int64_t>(checkpoint->tensors().size());
  report.bytes = checkpoint->file_bytes();
  if (!options.read_data) return report;
  BALTORO_TRY_STATUS(read_all(*checkpoint, options, report));
  report_values(config, binding, report);
  return report;
}

std::string checksum_text(const VerifyReport& report) {
  std::string text;
  for (const auto& [name, scan] : report.tensors) text += fmt::format("{}  {}\n", to_hex(scan.digest), name);
  return text;
}

std::string checkpoint_checksum(const VerifyReport& report) {
  const std::string text = checksum_text(report);
  return to_hex(sha256(std::as_bytes(std::span(text))));
}

Status compare_checksums(std::string_view expected, VerifyReport& report) {
  std::map<std::string_view, Sha256Digest> wanted;
  for (std::int64_t number = 1; !expected.empty(); ++number) {
    std::string_view line = take(expected, '\n');
    const auto digest = parse_digest(take(line, ' '));
    if (!digest || line.size() < 2 || line.front() != ' ') {
      return Error{Errc::kCorrupt, fmt::format("[verify] checksums, line {}: \"sha256  name\" expected", number)};
    }
    wanted.emplace(line.substr(1), *digest);
  }
  for (const auto& [name, scan] : report.tensors) {
    const auto found = wanted.find(name);
    if (found == wanted.end()) {
      report.add_problem(name, "a checksum expected, the list has none");
    } else if (found->second != scan.digest) {
      report.add_problem(
          name, fmt::format("sha256 {} expected, its data has {}", to_hex(found->second), to_hex(scan.digest)));
    }
  }
  for (const auto& [name, digest] : wanted) {
    if (!report.tensors.contains(std::string(name))) report.add_problem(name, "in the checksum list, but in no shard");
  }
  return {};
}

}  // namespace baltoro::model
