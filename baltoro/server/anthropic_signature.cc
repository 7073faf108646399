// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/anthropic_signature.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>

#include "baltoro/base/check.h"

namespace baltoro::server {
namespace {

constexpr std::string_view kMark = "BTk1";
constexpr char kTagged = 't', kSealed = 's';
constexpr std::size_t kIdBytes = 8, kNonceBytes = 12, kGcmTagBytes = 16;
constexpr std::size_t kHeadBytes = kMark.size() + 1 + kIdBytes;
constexpr std::size_t kMaxKeyBytes = 4096;

using Digest = std::array<std::uint8_t, 32>;

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }
unsigned char* bytes_of(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }
std::string_view text_of(const Digest& digest) { return {reinterpret_cast<const char*>(digest.data()), digest.size()}; }

Digest hmac(std::string_view key, std::string_view text) {
  Digest out;
  unsigned length = 0;
  const auto* done =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes_of(text), text.size(), out.data(), &length);
  BALTORO_CHECK(done != nullptr && length == out.size(), "HMAC-SHA256 is not available");
  return out;
}

std::string base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // OpenSSL ends it with a zero
  out.resize(static_cast<std::size_t>(EVP_EncodeBlock(bytes_of(out), bytes_of(bytes), static_cast<int>(bytes.size()))));
  return out;
}

// Canonical base64 only: one text for one signature.
std::optional<std::string> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return {};
  std::string out(text.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(bytes_of(out), bytes_of(text), static_cast<int>(text.size()));
  if (length < 0) return {};
  const auto padding = static_cast<std::size_t>(text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0);
  out.resize(static_cast<std::size_t>(length) - padding);
  return base64(out) == text ? std::optional(std::move(out)) : std::nullopt;
}

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

Cipher make_cipher() {
  Cipher cipher(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  BALTORO_CHECK(cipher != nullptr, "no cipher context");
  return cipher;
}

// nonce, ciphertext, tag. The nonce is a keyed digest of the text: it repeats only with the text.
std::string encrypt(const Digest& key, std::string_view text) {
  const Digest digest = hmac(text_of(key), text);
  std::string out(text_of(digest).substr(0, kNonceBytes));
  out.resize(kNonceBytes + text.size() + kGcmTagBytes);
  const Cipher cipher = make_cipher();
  unsigned char* body = bytes_of(out) + kNonceBytes;
  int length = 0, more = 0;
  const bool done =
      EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(), digest.data()) == 1 &&
      EVP_EncryptUpdate(cipher.get(), body, &length, bytes_of(text), static_cast<int>(text.size())) == 1 &&
      EVP_EncryptFinal_ex(cipher.get(), body + length, &more) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kGcmTagBytes, body + text.size()) == 1;
  BALTORO_CHECK(done && static_cast<std::size_t>(length + more) == text.size(), "AES-256-GCM is not available");
  return out;
}

std::optional<std::string> decrypt(const Digest& key, std::string_view sealed) {
  if (sealed.size() < kNonceBytes + kGcmTagBytes) return {};
  const std::string_view body = sealed.substr(kNonceBytes, sealed.size() - kNonceBytes - kGcmTagBytes);
  std::string tag(sealed.substr(sealed.size() - kGcmTagBytes));
  std::string out(body.size(), '\0');
  const Cipher cipher = make_cipher();
  int length = 0, more = 0;
  unsigned char none[kGcmTagBytes];
  const bool done =
      EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(), bytes_of(sealed)) == 1 &&
      EVP_DecryptUpdate(cipher.get(), bytes_of(out), &length, bytes_of(body), static_cast<int>(body.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kGcmTagBytes, tag.data()) == 1 &&
      EVP_DecryptFinal_ex(cipher.get(), none, &more) == 1;
  return done ? std::optional(std::move(out)) : std::nullopt;
}

Error io_error(const char* what, const std::string& path) {
  return {Errc::kIo, std::string(what) + " " + path + ": " + std::strerror(errno)};
}

Result<std::string> read_key(int file, const std::string& path) {
  std::string key(kMaxKeyBytes + 1, '\0');
  std::size_t size = 0;
  while (size < key.size()) {
    const ssize_t got = ::read(file, key.data() + size, key.size() - size);
    if (got < 0) return io_error("cannot read the key file", path);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size < ThinkingSigner::kMinKeyBytes || size > kMaxKeyBytes) {
    return Error{Errc::kInvalidArgument, "the key file " + path + " needs " +
                                             std::to_string(ThinkingSigner::kMinKeyBytes) + " to " +
                                             std::to_string(kMaxKeyBytes) + " bytes"};
  }
  key.resize(size);
  return key;
}

}  // namespace

ThinkingSigner::ThinkingSigner(std::string_view key)
    : mac_key_(hmac(key, "thinking: tag")), seal_key_(hmac(key, "thinking: seal")), id_(hmac(key, "thinking: id")) {
  BALTORO_CHECK(key.size() >= kMinKeyBytes, "a signing key is too short");
}

std::string ThinkingSigner::random_key() {
  std::string key(32, '\0');
  BALTORO_CHECK(RAND_bytes(bytes_of(key), static_cast<int>(key.size())) == 1, "no random bytes");
  return key;
}

Result<std::string> ThinkingSigner::key_file(const std::string& path) {
  // Made under another name and linked: whoever reads the file sees a whole key, and the first of two servers wins.
  if (::access(path.c_str(), F_OK) != 0) {
    const std::string fresh = path + "." + std::to_string(::getpid());
    const int file = ::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file < 0) return io_error("cannot make the key file", fresh);
    const std::string key = random_key();
    const bool written =
        ::write(file, key.data(), key.size()) == static_cast<ssize_t>(key.size()) && ::fsync(file) == 0;
    ::close(file);
    const bool linked = written && (::link(fresh.c_str(), path.c_str()) == 0 || errno == EEXIST);
    const int why = errno;
    ::unlink(fresh.c_str());
    errno = why;
    if (!linked) return io_error("cannot make the key file", path);
  }
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return io_error("cannot read the key file", path);
  auto key = read_key(file, path);
  ::close(file);
  return key;
}

std::string ThinkingSigner::head(char kind) const {
  return std::string(kMark) + kind + std::string(text_of(id_).substr(0, kIdBytes));
}

std::string ThinkingSigner::sign(std::string_view thinking) const {
  return base64(head(kTagged) + std::string(text_of(hmac(text_of(mac_key_), thinking))));
}

std::string ThinkingSigner::seal(std::string_view thinking) const {
  return base64(head(kSealed) + encrypt(seal_key_, thinking));
}

ThinkingSigner::Seen ThinkingSigner::read(std::string_view signature, std::string_view shown) const {
  const auto bytes = from_base64(signature);
  if (!bytes || bytes->size() < kHeadBytes) return {Origin::kForeign, std::string(shown)};
  const std::string_view start = std::string_view(*bytes).substr(0, kHeadBytes);
  const std::string_view rest = std::string_view(*bytes).substr(kHeadBytes);
  if (start == head(kTagged)) {
    const Digest needed = hmac(text_of(mac_key_), shown);
    const bool same = rest.size() == needed.size() && CRYPTO_memcmp(rest.data(), needed.data(), needed.size()) == 0;
    return same ? Seen{Origin::kOurs, std::string(shown)} : Seen{Origin::kAltered, {}};
  }
  if (start == head(kSealed)) {
    auto thinking = decrypt(seal_key_, rest);
    if (!thinking || (!shown.empty() && shown != *thinking)) return {Origin::kAltered, {}};
    return {Origin::kOurs, *std::move(thinking)};
  }
  return {Origin::kForeign, std::string(shown)};
}

}  // namespace baltoro::server
