// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "baltoro/base/result.h"

namespace baltoro {

// A file descriptor that closes itself. Move-only.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Opens a regular file for reading and gives its size. Never blocks: a FIFO, device, socket or directory is refused.
// kNotFound, kPermissionDenied, kIo; kCorrupt when it is no regular file.
struct OpenedFile {
  FileDescriptor fd;
  std::uint64_t bytes = 0;
};
Result<OpenedFile> open_regular(const std::string& path);

// The whole file. kTooLarge over max_bytes; else as open_regular.
Result<std::string> read_file(const std::string& path, std::uint64_t max_bytes);

// Who may read a file that is made.
enum class Readers : std::uint8_t { kAll, kOwner };

// Writes PATH.tmp, syncs it and renames it over PATH: readers see the old file or the whole new one. What fails leaves
// no PATH.tmp.
Status write_file_atomically(const std::string& path, std::string_view content, Readers readers = Readers::kAll);

// As that, for its owner's eyes, but a file that is there stays as it is, and that is no error: of several that make it
// at once, the first wins.
Status write_file_unless_there(const std::string& path, std::string_view content);

// A file written at any offset, by any number of threads at once. Made anew, over whatever the path held.
class OutputFile {
 public:
  static Result<OutputFile> create(const std::string& path, Readers readers = Readers::kAll);
  // Under a name that no file beside `path` has: path() tells it. For its owner's eyes.
  static Result<OutputFile> create_beside(const std::string& path);
  Status write_at(std::uint64_t offset, std::span<const std::byte> bytes) const;
  // Sets the size; what is not written reads as zeros and takes no room on disk.
  Status resize(std::uint64_t bytes) const;
  Status sync() const;
  const std::string& path() const { return path_; }

 private:
  OutputFile(FileDescriptor fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  FileDescriptor fd_;
  std::string path_;
};

Status rename_file(const std::string& from, const std::string& to);
Status remove_file(const std::string& path);  // ok when there is none
Status make_directories(const std::string& path);
bool file_exists(const std::string& path);  // anything of that name, a dangling link included
bool is_directory(const std::string& path);
// Names in a directory, sorted, without "." and "..".
Result<std::vector<std::string>> list_directory(const std::string& path);
// Bytes free to this user on the file system that holds `path`.
Result<std::uint64_t> free_bytes(const std::string& path);

std::string join_path(std::string_view dir, std::string_view name);

// An Error for errno after `action` ("cannot open") on `path`.
Error io_error(std::string_view action, std::string_view path, int error_number);

}  // namespace baltoro
