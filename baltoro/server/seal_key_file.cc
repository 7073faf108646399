// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/seal_key_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/rand.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "baltoro/base/check.h"
#include "baltoro/base/file.h"

namespace baltoro::server {
namespace {

constexpr std::uint64_t kMaxFileBytes = 4096;

int digit_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

Result<Seal::Key> parse_key(std::string text, const std::string& path) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' ')) text.pop_back();
  Seal::Key key{};
  bool good = text.size() == key.size() * 2;
  for (std::size_t i = 0; good && i < key.size(); ++i) {
    const int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);
    good = high >= 0 && low >= 0;
    key[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  if (good) return key;
  return Error{Errc::kInvalidArgument,
               fmt::format("{}: a key of {} hexadecimal digits needed, and nothing else", path, key.size() * 2)};
}

Status write_key(int descriptor, const Seal::Key& key, const std::string& path) {
  std::string text;
  for (const std::uint8_t byte : key) text += fmt::format("{:02x}", byte);
  text += '\n';
  const ssize_t written = ::write(descriptor, text.data(), text.size());
  const bool good = written == static_cast<ssize_t>(text.size()) && ::fsync(descriptor) == 0;
  const int error = errno;
  ::close(descriptor);
  if (good) return {};
  ::unlink(path.c_str());
  return Error{Errc::kIo, fmt::format("cannot write the seal's key to {}: {}", path, std::strerror(error))};
}

}  // namespace

Result<Seal::Key> open_seal_key(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (descriptor < 0 && errno != EEXIST) {
    return Error{Errc::kIo, fmt::format("cannot make the seal's key file {}: {}", path, std::strerror(errno))};
  }
  if (descriptor < 0) {
    BALTORO_TRY(std::string text, read_file(path, kMaxFileBytes));
    return parse_key(std::move(text), path);
  }
  Seal::Key key;
  BALTORO_CHECK(RAND_bytes(key.data(), static_cast<int>(key.size())) == 1, "the system gives no random bytes");
  BALTORO_TRY_STATUS(write_key(descriptor, key, path));
  return key;
}

}  // namespace baltoro::server
