// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/weights_identity.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "baltoro/base/file.h"

namespace baltoro::model {
namespace {

constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{16} << 20;
constexpr std::uint64_t kMaxHeaderBytes = std::uint64_t{128} << 20;
constexpr std::uint64_t kSamples = 32, kSampleBytes = 4096;

void add(Sha256& hash, std::string_view text) {
  const std::uint64_t size = text.size();
  hash.update(std::as_bytes(std::span(&size, 1)));
  hash.update(std::as_bytes(std::span(text)));
}

void add(Sha256& hash, std::uint64_t number) { hash.update(std::as_bytes(std::span(&number, 1))); }

// Adds up to `count` bytes from `offset` on.
Status add_bytes(Sha256& hash, int fd, const std::string& path, std::uint64_t offset, std::uint64_t count) {
  std::vector<std::byte> bytes(std::size_t{1} << 16);
  while (count > 0) {
    const ssize_t got =
        ::pread(fd, bytes.data(), std::min<std::uint64_t>(count, bytes.size()), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error("cannot read", path, errno);
    if (got == 0) break;
    hash.update(std::span(bytes).first(static_cast<std::size_t>(got)));
    offset += static_cast<std::uint64_t>(got);
    count -= static_cast<std::uint64_t>(got);
  }
  return {};
}

Status add_shard(Sha256& hash, const std::string& path) {
  BALTORO_TRY(const OpenedFile file, open_regular(path));
  struct stat info{};
  if (::fstat(file.fd.get(), &info) != 0) return io_error("cannot examine", path, errno);
  add(hash, file.bytes);
  add(hash, static_cast<std::uint64_t>(info.st_mtim.tv_sec));
  add(hash, static_cast<std::uint64_t>(info.st_mtim.tv_nsec));
  std::uint64_t header = 0;
  if (::pread(file.fd.get(), &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) header = 0;
  BALTORO_TRY_STATUS(add_bytes(hash, file.fd.get(), path, 0, std::min(header, kMaxHeaderBytes) + sizeof header));
  const std::uint64_t apart = std::max<std::uint64_t>(file.bytes / kSamples, 1);
  for (std::uint64_t at = 0; at < file.bytes; at += apart)
    BALTORO_TRY_STATUS(add_bytes(hash, file.fd.get(), path, at, kSampleBytes));
  return {};
}

}  // namespace

Result<Sha256Digest> weights_identity(const std::string& dir) {
  Sha256 hash;
  BALTORO_TRY(const std::string config, read_file(join_path(dir, "config.json"), kMaxConfigBytes));
  add(hash, config);
  BALTORO_TRY(const std::vector<std::string> names, list_directory(dir));
  for (const std::string& name : names) {
    if (!name.ends_with(".safetensors")) continue;
    add(hash, name);
    BALTORO_TRY_STATUS(add_shard(hash, join_path(dir, name)));
  }
  return hash.finish();
}

}  // namespace baltoro::model
