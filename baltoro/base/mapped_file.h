// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "baltoro/base/result.h"

namespace baltoro {

// A regular file mapped read-only (private, not populated): its pages are read when first touched and are page cache,
// so a mapping far larger than memory is fine. Move-only; threads may read at once.
//
// Limitation: the mapping has the size of the moment of opening. If the file is truncated later, or the disk fails,
// touching the lost pages raises SIGBUS: see install_mapping_fault_handler.
class MappedFile {
 public:
  // As open_regular; kCorrupt for an empty file, kResourceExhausted when no address space is left.
  static Result<MappedFile> open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }

 private:
  MappedFile() = default;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  std::string path_;
};

// Hints for a part of a mapping (widened to whole pages): "will be read soon, in order", "is read in no order and stays
// in memory", "not needed for now".
void advise_sequential(std::span<const std::byte> part);
void advise_normal(std::span<const std::byte> part);
void advise_dont_need(std::span<const std::byte> part);

// Turns SIGBUS, which touching a truncated or unreadable mapped file raises, into one line on stderr and exit code 74
// (no answers from lost weights). For programs; call once, before threads start.
void install_mapping_fault_handler();

}  // namespace baltoro
