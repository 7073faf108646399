// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/seal.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <memory>
#include <new>

#include "baltoro/base/check.h"
#include "baltoro/server/base64url.h"

namespace baltoro::server {
namespace {

// version, nonce, ciphertext, tag.
constexpr char kVersion = 1;
constexpr std::size_t kNonceBytes = 12, kTagBytes = 16, kHeadBytes = 1 + kNonceBytes;
constexpr std::size_t kMaxBytes = std::size_t{64} << 20;

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

unsigned char* bytes(std::string& text, std::size_t at) { return reinterpret_cast<unsigned char*>(text.data()) + at; }
const unsigned char* bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

// OpenSSL fails here for want of memory alone.
Cipher make_cipher() {
  Cipher cipher(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  if (cipher == nullptr) throw std::bad_alloc();
  return cipher;
}

}  // namespace

std::string Seal::encrypt(std::string_view text, std::string_view owner) const {
  BALTORO_CHECK(text.size() <= kMaxBytes && owner.size() <= kMaxBytes, "texts to seal are bounded");
  std::string out(kHeadBytes + text.size() + kTagBytes, '\0');
  out[0] = kVersion;
  BALTORO_CHECK(RAND_bytes(bytes(out, 1), kNonceBytes) == 1, "the system gives no random bytes");
  const Cipher cipher = make_cipher();
  int written = 0;
  const auto update = [&](unsigned char* to, std::string_view from) {
    return from.empty() ||
           EVP_EncryptUpdate(cipher.get(), to, &written, bytes(from), static_cast<int>(from.size())) == 1;
  };
  unsigned char* const tag = bytes(out, kHeadBytes + text.size());
  const bool ok =
      EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key_.bytes().data(), bytes(out, 1)) == 1 &&
      update(nullptr, owner) && update(bytes(out, kHeadBytes), text) &&
      EVP_EncryptFinal_ex(cipher.get(), tag, &written) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, tag) == 1;
  if (!ok) throw std::bad_alloc();
  return out;
}

std::optional<std::string> Seal::decrypt(std::string_view sealed, std::string_view owner) const {
  if (sealed.size() > kMaxBytes || owner.size() > kMaxBytes) return {};
  if (sealed.size() < kHeadBytes + kTagBytes || sealed.front() != kVersion) return {};
  const std::size_t size = sealed.size() - kHeadBytes - kTagBytes;
  std::string text(size, '\0'), tag(sealed.substr(kHeadBytes + size));
  const Cipher cipher = make_cipher();
  int written = 0;
  const auto update = [&](unsigned char* to, std::string_view from) {
    return from.empty() ||
           EVP_DecryptUpdate(cipher.get(), to, &written, bytes(from), static_cast<int>(from.size())) == 1;
  };
  const bool ok =
      EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key_.bytes().data(), bytes(sealed) + 1) == 1 &&
      update(nullptr, owner) && update(bytes(text, 0), sealed.substr(kHeadBytes, size)) &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, bytes(tag, 0)) == 1 &&
      EVP_DecryptFinal_ex(cipher.get(), bytes(text, size), &written) == 1;
  if (!ok) return {};
  return text;
}

std::string Seal::seal(std::string_view text, std::string_view owner) const {
  return to_base64url(encrypt(text, owner));
}

std::optional<std::string> Seal::open(std::string_view sealed, std::string_view owner) const {
  const auto bytes = from_base64url(sealed);
  return bytes ? decrypt(*bytes, owner) : std::nullopt;
}

}  // namespace baltoro::server
