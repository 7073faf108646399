// SPDX-License-Identifier: Apache-2.0
// A decode step allocates nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>

#include "baltoro/engine/engine_core.h"

namespace {
std::atomic<std::int64_t> allocations = 0;  // of the whole test program
}

// Not inlined: g++ would take the malloc or free inside for a mismatched pair.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(bytes);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace baltoro::engine {
namespace {

struct FlatRunner final : ModelRunner {
  std::int64_t vocab_size() const override { return 500; }
  std::int64_t max_context_tokens() const override { return 4000; }
  std::int64_t num_blocks() const override { return 200; }
  std::int64_t max_batch_tokens() const override { return 64; }
  std::int64_t max_logit_rows() const override { return 16; }
  Status forward(const model::Batch&, std::span<float> logits) override {
    for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * 7 % 13);
    return {};
  }
  void copy_block(model::BlockId, model::BlockId) override {}
};

struct Counting final : TokenSink {
  Next on_token(const TokenEvent&) override { return ++tokens, Next::kContinue; }
  std::int64_t tokens = 0;
};

TEST(EngineCore, ADecodeStepAllocatesNothing) {
  EngineCore core(std::make_unique<FlatRunner>(), {.max_sequences = 16});
  const auto sink = std::make_shared<Counting>();
  for (int i = 0; i < 5; ++i) {
    Request request;
    request.prompt.assign(static_cast<std::size_t>(40 + 30 * i), i);
    request.n = i == 4 ? 3 : 1;
    request.max_tokens = 1000;
    request.sampling = {.temperature = 1,
                        .top_k = 40 * (i % 2),
                        .top_p = 0.9f,
                        .min_p = 0.01f,
                        .frequency_penalty = 0.1f,
                        .repetition_penalty = 1.1f};
    request.logprobs = true;
    request.top_logprobs = 5;
    request.sink = sink;
    ASSERT_TRUE(check_request(request, core.limits()).ok());
    core.add(RequestId{static_cast<std::uint64_t>(i)}, std::move(request));
  }
  while (core.stats().tokens_decoded < 50) ASSERT_TRUE(core.step());
  const std::int64_t before = allocations, tokens = sink->tokens;
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(core.step());  // over several block bounds
  EXPECT_EQ(allocations - before, 0);
  EXPECT_EQ(sink->tokens - tokens, 300 * 7);
}

}  // namespace
}  // namespace baltoro::engine
