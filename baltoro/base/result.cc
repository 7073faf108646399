// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/result.h"

namespace baltoro {

const char* errc_name(Errc code) {
  switch (code) {
    case Errc::kInvalidArgument:
      return "invalid_argument";
    case Errc::kUnauthenticated:
      return "unauthenticated";
    case Errc::kPermissionDenied:
      return "permission_denied";
    case Errc::kNotFound:
      return "not_found";
    case Errc::kTimeout:
      return "timeout";
    case Errc::kPromptTooLong:
      return "prompt_too_long";
    case Errc::kTooLarge:
      return "too_large";
    case Errc::kOverloaded:
      return "overloaded";
    case Errc::kRateLimited:
      return "rate_limited";
    case Errc::kQuotaExceeded:
      return "quota_exceeded";
    case Errc::kResourceExhausted:
      return "resource_exhausted";
    case Errc::kCancelled:
      return "cancelled";
    case Errc::kUnavailable:
      return "unavailable";
    case Errc::kUnsupported:
      return "unsupported";
    case Errc::kCorrupt:
      return "corrupt";
    case Errc::kIo:
      return "io";
    case Errc::kInternal:
      return "internal";
  }
  return "internal";
}

}  // namespace baltoro
