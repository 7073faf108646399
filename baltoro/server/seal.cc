// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/seal.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <memory>

#include "baltoro/base/check.h"

namespace baltoro::server {
namespace {

// version, nonce, ciphertext, tag; all in base64url without padding.
constexpr char kVersion = 1;
constexpr std::size_t kNonceBytes = 12, kTagBytes = 16, kHeadBytes = 1 + kNonceBytes;
constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

unsigned char* bytes(std::string& text, std::size_t at) { return reinterpret_cast<unsigned char*>(text.data()) + at; }
const unsigned char* bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

std::string to_base64url(std::string_view data) {
  std::string out;
  out.reserve((data.size() * 4 + 2) / 3);
  std::uint32_t bits = 0;
  int count = 0;
  for (char c : data) {
    bits = (bits << 8) | static_cast<unsigned char>(c);
    for (count += 8; count >= 6; count -= 6) out += kDigits[(bits >> (count - 6)) & 63];
  }
  if (count > 0) out += kDigits[(bits << (6 - count)) & 63];
  return out;
}

int digit_value(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '-') return 62;
  return c == '_' ? 63 : -1;
}

std::optional<std::string> from_base64url(std::string_view text) {
  std::string out;
  out.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int count = 0;
  for (char c : text) {
    const int value = digit_value(c);
    if (value < 0) return {};
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>((bits >> count) & 255);
  }
  return out;
}

}  // namespace

Seal::Seal() { BALTORO_CHECK(RAND_bytes(key_.data(), kKeyBytes) == 1, "the system gives no random bytes"); }

Seal::Seal(const Key& key) : key_(key) {}

std::string Seal::seal(std::string_view text, std::string_view owner) const {
  BALTORO_CHECK(text.size() <= kMaxBytes && owner.size() <= kMaxBytes, "texts to seal are bounded");
  std::string out(kHeadBytes + text.size() + kTagBytes, '\0');
  out[0] = kVersion;
  BALTORO_CHECK(RAND_bytes(bytes(out, 1), kNonceBytes) == 1, "the system gives no random bytes");
  const Cipher cipher(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  int written = 0;
  bool ok = cipher != nullptr &&
            EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key_.data(), bytes(out, 1)) == 1 &&
            EVP_EncryptUpdate(cipher.get(), nullptr, &written, bytes(owner), static_cast<int>(owner.size())) == 1 &&
            EVP_EncryptUpdate(cipher.get(), bytes(out, kHeadBytes), &written, bytes(text),
                              static_cast<int>(text.size())) == 1;
  const std::size_t tag = kHeadBytes + text.size();
  ok = ok && EVP_EncryptFinal_ex(cipher.get(), bytes(out, tag), &written) == 1 &&
       EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, bytes(out, tag)) == 1;
  BALTORO_CHECK(ok, "AES-256-GCM failed");
  return to_base64url(out);
}

std::optional<std::string> Seal::open(std::string_view sealed, std::string_view owner) const {
  if (sealed.size() > kMaxBytes * 2 || owner.size() > kMaxBytes) return {};
  auto data = from_base64url(sealed);
  if (!data || data->size() < kHeadBytes + kTagBytes || data->front() != kVersion) return {};
  const std::size_t size = data->size() - kHeadBytes - kTagBytes;
  std::string text(size, '\0');
  const Cipher cipher(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  int written = 0;
  const bool ok =
      cipher != nullptr &&
      EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key_.data(), bytes(*data, 1)) == 1 &&
      EVP_DecryptUpdate(cipher.get(), nullptr, &written, bytes(owner), static_cast<int>(owner.size())) == 1 &&
      EVP_DecryptUpdate(cipher.get(), bytes(text, 0), &written, bytes(*data, kHeadBytes), static_cast<int>(size)) ==
          1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, bytes(*data, kHeadBytes + size)) == 1 &&
      EVP_DecryptFinal_ex(cipher.get(), bytes(text, size), &written) == 1;
  if (!ok) return {};
  return text;
}

}  // namespace baltoro::server
