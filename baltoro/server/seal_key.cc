// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/seal_key.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "baltoro/base/check.h"
#include "baltoro/base/file.h"
#include "baltoro/base/hex.h"

namespace baltoro::server {
namespace {

constexpr std::uint64_t kMaxFileBytes = 4096;

Error io_error(const char* what, const std::string& path) {
  return {Errc::kIo, fmt::format("cannot {} the key file {}: {}", what, path, std::strerror(errno))};
}

bool write_key(int file, const SealKey& key) {
  const std::string text = to_hex(key.bytes()) + '\n';
  return ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) && ::fsync(file) == 0;
}

// Made under another name and linked: whoever reads the file sees a whole key, and the first of two servers wins.
Status make_key(const std::string& path) {
  const std::string fresh = fmt::format("{}.{}", path, ::getpid());
  const int file = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0) return io_error("make", fresh);
  const bool written = write_key(file, SealKey::random());
  const bool linked = written && (::link(fresh.c_str(), path.c_str()) == 0 || errno == EEXIST);
  const Status status = linked ? Status() : Status(io_error("make", path));
  ::close(file);
  ::unlink(fresh.c_str());
  return status;
}

}  // namespace

SealKey SealKey::random() {
  Bytes bytes;
  BALTORO_CHECK(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1, "the system gives no random bytes");
  return SealKey(bytes);
}

Result<SealKey> SealKey::in_file(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0) BALTORO_TRY_STATUS(make_key(path));
  BALTORO_TRY(std::string text, read_file(path, kMaxFileBytes));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.pop_back();
  Bytes bytes;
  if (read_hex(text, bytes)) return SealKey(bytes);
  return Error{Errc::kInvalidArgument,
               fmt::format("{}: a key of {} hexadecimal digits needed, and nothing else", path, 2 * bytes.size())};
}

SealKey::Bytes SealKey::tag(std::string_view text) const {
  Bytes out;
  unsigned length = 0;
  const auto* done = HMAC(EVP_sha256(), bytes_.data(), static_cast<int>(bytes_.size()),
                          reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data(), &length);
  if (done == nullptr) throw std::bad_alloc();  // HMAC-SHA256 is always there
  return out;
}

}  // namespace baltoro::server
