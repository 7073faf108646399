// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "baltoro/base/file.h"
#include "baltoro/base/result.h"

namespace baltoro {

// A directory for one process at a time: DIR/lock is locked while this lives and holds the owner's process id. The
// lock goes with the process, however that ends.
class DirectoryLock {
 public:
  // kUnavailable names the process that has it; kIo, kPermissionDenied, kNotFound as the system says.
  static Result<DirectoryLock> take(const std::string& dir);

 private:
  explicit DirectoryLock(FileDescriptor fd) : fd_(std::move(fd)) {}
  FileDescriptor fd_;
};

}  // namespace baltoro
