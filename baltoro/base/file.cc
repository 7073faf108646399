// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <system_error>

namespace baltoro {

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

Error io_error(std::string_view action, std::string_view path, int error_number) {
  const Errc code = error_number == ENOENT || error_number == ENOTDIR ? Errc::kNotFound
                    : error_number == EACCES || error_number == EPERM ? Errc::kPermissionDenied
                    : error_number == ENOMEM                          ? Errc::kResourceExhausted
                                                                      : Errc::kIo;
  return Error{code, "[file] " + std::string(action) + " " + std::string(path) + ": " +
                         std::generic_category().message(error_number)};
}

namespace {

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace

Result<OpenedFile> open_regular(const std::string& path) {
  if (path.find('\0') != std::string::npos) return Error{Errc::kInvalidArgument, "[file] a path holds a NUL byte"};
  // O_NONBLOCK: opening a FIFO without a writer must not hang.
  FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd.open()) return io_error("cannot open", path, errno);
  struct stat info = {};
  if (::fstat(fd.get(), &info) != 0) return io_error("cannot stat", path, errno);
  if (!S_ISREG(info.st_mode)) {
    return Error{Errc::kCorrupt, "[file] " + path + ": a regular file expected, it is " + kind_of(info.st_mode)};
  }
  return OpenedFile{std::move(fd), static_cast<std::uint64_t>(info.st_size)};
}

Result<std::string> read_file(const std::string& path, std::uint64_t max_bytes) {
  BALTORO_TRY(OpenedFile file, open_regular(path));
  if (file.bytes > max_bytes) {
    return Error{Errc::kTooLarge, "[file] " + path + ": at most " + std::to_string(max_bytes) +
                                      " bytes expected, it has " + std::to_string(file.bytes)};
  }
  std::string content(file.bytes, '\0');
  std::size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = ::read(file.fd.get(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return io_error("cannot read", path, errno);
    if (got == 0) break;  // it shrank since fstat
    done += static_cast<std::size_t>(got);
  }
  content.resize(done);
  return content;
}

Status write_file_atomically(const std::string& path, std::string_view content, Readers readers) {
  const std::string temporary = path + ".tmp";
  BALTORO_TRY(const OutputFile file, OutputFile::create(temporary, readers));
  Status status = file.write_at(0, std::as_bytes(std::span(content)));
  if (status.ok()) status = file.sync();
  if (status.ok()) status = rename_file(temporary, path);
  if (!status.ok()) static_cast<void>(remove_file(temporary));
  return status;
}

Status write_file_unless_there(const std::string& path, std::string_view content) {
  BALTORO_TRY(const OutputFile file, OutputFile::create_beside(path));
  Status status = file.write_at(0, std::as_bytes(std::span(content)));
  if (status.ok()) status = file.sync();
  if (status.ok() && ::link(file.path().c_str(), path.c_str()) != 0 && errno != EEXIST)
    status = io_error("cannot create", path, errno);
  static_cast<void>(remove_file(file.path()));
  return status;
}

Result<OutputFile> OutputFile::create(const std::string& path, Readers readers) {
  const mode_t mode = readers == Readers::kOwner ? 0600 : 0644;
  FileDescriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!fd.open()) return io_error("cannot create", path, errno);
  // One that was there keeps its mode, whatever it is.
  if (readers == Readers::kOwner && ::fchmod(fd.get(), mode) != 0) return io_error("cannot protect", path, errno);
  return OutputFile(std::move(fd), path);
}

Result<OutputFile> OutputFile::create_beside(const std::string& path) {
  std::string fresh = path + ".XXXXXX";
  FileDescriptor fd(::mkostemp(fresh.data(), O_CLOEXEC));
  if (!fd.open()) return io_error("cannot create a file beside", path, errno);
  return OutputFile(std::move(fd), std::move(fresh));
}

Status OutputFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return io_error("cannot write", path_, put < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
    offset += static_cast<std::uint64_t>(put);
  }
  return {};
}

Status OutputFile::resize(std::uint64_t bytes) const {
  if (::ftruncate(fd_.get(), static_cast<off_t>(bytes)) != 0) return io_error("cannot resize", path_, errno);
  return {};
}

Status OutputFile::sync() const {
  if (::fdatasync(fd_.get()) != 0) return io_error("cannot sync", path_, errno);
  return {};
}

Status rename_file(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return io_error("cannot rename to", to, errno);
  return {};
}

Status remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return io_error("cannot remove", path, errno);
  return {};
}

Status make_directories(const std::string& path) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST) return io_error("cannot make the directory", part, errno);
    if (slash == std::string::npos) break;
  }
  if (!is_directory(path)) return io_error("cannot make the directory", path, ENOTDIR);
  return {};
}

bool file_exists(const std::string& path) {
  struct stat info = {};
  return ::lstat(path.c_str(), &info) == 0;
}

bool is_directory(const std::string& path) {
  struct stat info = {};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
  struct Close {
    void operator()(DIR* dir) const { ::closedir(dir); }
  };
  const std::unique_ptr<DIR, Close> dir(::opendir(path.c_str()));
  if (!dir) return io_error("cannot list", path, errno);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::uint64_t> free_bytes(const std::string& path) {
  struct statvfs info = {};
  if (::statvfs(path.c_str(), &info) != 0) return io_error("cannot ask for the free room of", path, errno);
  return static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize;
}

std::string join_path(std::string_view dir, std::string_view name) {
  std::string path(dir);
  if (!path.empty() && path.back() != '/') path.push_back('/');
  return path.append(name);
}

}  // namespace baltoro
