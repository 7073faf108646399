// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/seal_key.h"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <new>
#include <utility>

#include "baltoro/base/check.h"
#include "baltoro/base/file.h"
#include "baltoro/base/hex.h"

namespace baltoro::server {
namespace {

constexpr std::uint64_t kMaxFileBytes = 4096;

// kIo whatever the reason: "not found" would be no answer to who lets one be made.
Status make_key(const std::string& path) {
  auto made = write_file_unless_there(path, to_hex(SealKey::random().bytes()) + '\n');
  if (made.ok()) return made;
  return Error{Errc::kIo, "no key could be made: " + std::move(made).error().message};
}

}  // namespace

SealKey SealKey::random() {
  Bytes bytes;
  BALTORO_CHECK(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1, "the system gives no random bytes");
  return SealKey(bytes);
}

Result<SealKey> SealKey::in_file(const std::string& path) {
  if (!file_exists(path)) BALTORO_TRY_STATUS(make_key(path));
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
