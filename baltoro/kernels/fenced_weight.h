// SPDX-License-Identifier: Apache-2.0
// Weights that end where memory ends, for the tests of this room: the last tensor of a mapped checkpoint may.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <utility>

#include "baltoro/base/round_up.h"
#include "baltoro/kernels/random_weights.h"
#include "baltoro/tensor/matrix_view.h"

namespace baltoro::kernels {

// A copy of some bytes before a page that nobody may touch: one byte read past them is a crash, with or without asan.
// misalignment 0: the last byte is the last of its page. Else the first is so many after a multiple of 64, and less
// than 64 bytes follow the last.
class FencedBytes {
 public:
  FencedBytes(const std::byte* from, std::int64_t bytes, std::int64_t misalignment) {
    const std::int64_t page = sysconf(_SC_PAGESIZE), gap = misalignment == 0 ? 0 : (-bytes - misalignment) & 63;
    mapped_ = round_up(bytes + gap, page) + page;
    void* map = mmap(nullptr, size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) std::abort();
    map_ = static_cast<std::byte*>(map);
    if (mprotect(map_ + mapped_ - page, static_cast<std::size_t>(page), PROT_NONE) != 0) std::abort();
    data_ = map_ + mapped_ - page - gap - bytes;
    if (bytes > 0) std::memcpy(data_, from, static_cast<std::size_t>(bytes));
  }
  ~FencedBytes() {
    if (map_ != nullptr) munmap(map_, size());
  }
  FencedBytes(FencedBytes&& other) noexcept
      : map_(std::exchange(other.map_, nullptr)), data_(other.data_), mapped_(other.mapped_) {}
  FencedBytes(const FencedBytes&) = delete;
  FencedBytes& operator=(const FencedBytes&) = delete;

  const std::byte* data() const { return data_; }

 private:
  std::size_t size() const { return static_cast<std::size_t>(mapped_); }
  std::byte* map_ = nullptr;
  std::byte* data_ = nullptr;
  std::int64_t mapped_ = 0;
};

struct FencedWeight {
  FencedBytes data, scale;
  tensor::MatrixView view;
};

// A random_weight between such fences.
inline FencedWeight fenced_weight(const WeightKind& kind, std::int64_t rows, std::int64_t cols, std::mt19937_64& rng) {
  const RandomWeight weight = random_weight(kind, rows, cols, rng);
  FencedWeight fenced{.data = {weight.view.data, weight.view.data_bytes(), kind.misalignment},
                      .scale = {weight.view.scale, weight.view.scale_bytes(), kind.misalignment},
                      .view = weight.view};
  fenced.view.data = fenced.data.data();
  fenced.view.scale = fenced.scale.data();
  return fenced;
}

}  // namespace baltoro::kernels
