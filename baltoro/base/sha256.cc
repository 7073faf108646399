// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/sha256.h"

#include <openssl/evp.h>

#include "baltoro/base/check.h"

namespace baltoro {

struct Sha256::Impl {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~Impl() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : impl_(std::make_unique<Impl>()) {
  BALTORO_CHECK(impl_->context != nullptr && EVP_DigestInit_ex(impl_->context, EVP_sha256(), nullptr) == 1,
                "SHA-256 is not available");
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

Sha256 Sha256::fork() const {
  Sha256 other;
  BALTORO_CHECK(EVP_MD_CTX_copy_ex(other.impl_->context, impl_->context) == 1, "SHA-256 copy");
  return other;
}

void Sha256::update(std::span<const std::byte> bytes) {
  BALTORO_CHECK(EVP_DigestUpdate(impl_->context, bytes.data(), bytes.size()) == 1, "SHA-256 update");
}

Sha256Digest Sha256::finish() {
  Sha256Digest digest;
  unsigned length = 0;
  BALTORO_CHECK(EVP_DigestFinal_ex(impl_->context, digest.data(), &length) == 1 && length == digest.size(),
                "SHA-256 finish");
  return digest;
}

Sha256Digest sha256(std::span<const std::byte> bytes) {
  Sha256Digest digest;
  unsigned length = 0;
  BALTORO_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest.data(), &length, EVP_sha256(), nullptr) == 1 &&
                    length == digest.size(),
                "SHA-256 of a whole");
  return digest;
}

}  // namespace baltoro
