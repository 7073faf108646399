// SPDX-License-Identifier: Apache-2.0
// The engine with KV on disk, restarted again and again over a directory that is damaged in between: every token must
// be the one that its prompt alone gives, and every invariant must hold.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "baltoro/engine/engine_core.h"
#include "baltoro/engine/kv_store.h"
#include "baltoro/engine/prefix_runner.h"

namespace baltoro::engine {
namespace {

namespace fs = std::filesystem;
using testing::IsEmpty;

constexpr std::int64_t kVocab = 30;

struct Stream final : TokenSink {
  Next on_token(const TokenEvent& event) override {
    if (event.token) said.push_back(*event.token);
    finish = event.finish;
    cached = event.tokens_cached;
    return Next::kContinue;
  }
  std::vector<TokenId> said;
  FinishReason finish = FinishReason::kNone;
  std::int64_t cached = 0;
};

struct Talk {
  std::vector<TokenId> tokens;  // all so far
  std::shared_ptr<Stream> stream;
  RequestId id{};
  bool cancelled = false;
};

class World {
 public:
  explicit World(std::uint64_t seed)
      : random_(seed), dir_(testing::TempDir() + "kv_disk_" + std::to_string(::getpid()) + "_" + std::to_string(seed)) {
    fs::remove_all(dir_);
    talks_.resize(3);
    for (Talk& talk : talks_) talk.tokens = random_tokens(pick(60, 300));
  }
  ~World() { fs::remove_all(dir_); }

  void run(int lives) {
    for (int life = 0; life < lives; ++life) {
      start();
      for (int i = 0; i < 150; ++i) {
        act();
        ASSERT_NO_FATAL_FAILURE(advance());
      }
      for (int i = 0; !core_->idle() || core_->stats().disk->blocks_unwritten > 0; ++i) {
        ASSERT_LT(i, 500'000) << "no progress";
        ASSERT_NO_FATAL_FAILURE(advance());
      }
      for (Talk& talk : talks_) finish(talk);
      const EngineStats stats = core_->stats();
      EXPECT_EQ(stats.blocks_free + stats.blocks_cached, stats.blocks_total);
      restored += stats.disk->blocks_restored;
      written += stats.disk->pages_written;
      bad += stats.disk->pages_bad;
      evicted += stats.disk->pages_evicted;
      errors += stats.disk->write_errors;
      core_ = nullptr;
      damage();
    }
  }

  std::int64_t restored = 0, written = 0, bad = 0, evicted = 0, errors = 0, turns = 0, cached = 0;

 private:
  std::int64_t pick(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(random_);
  }
  std::vector<TokenId> random_tokens(std::int64_t count) {
    std::vector<TokenId> ids;
    for (std::int64_t i = 0; i < count; ++i) ids.push_back(static_cast<TokenId>(pick(0, kVocab - 1)));
    return ids;
  }

  void start() {
    const PrefixRunnerOptions model{.vocab_size = kVocab,
                                    .max_context_tokens = 2000,
                                    .num_blocks = pick(12, 40),
                                    .max_batch_tokens = pick(1, 100),
                                    .max_logit_rows = 4};
    auto runner = std::make_unique<PrefixRunner>(model, &log_);
    const std::size_t kv_bytes = runner->block_memory(BlockId{0}).size();
    KvDirectoryOptions options{.dir = dir_,
                               .max_bytes = static_cast<std::int64_t>(kv_bytes + kPageHeaderBytes) * pick(5, 120),
                               .kv_bytes = kv_bytes};
    const bool failing = pick(0, 7) == 0;
    options.fail_write = [failing, count = 0]() mutable { return failing && ++count == 3 ? ENOSPC : 0; };
    auto directory = KvDirectory::open(std::move(options));
    ASSERT_TRUE(directory.ok()) << directory.error().message;
    auto store = KvStore::start(*std::move(directory), kv_bytes);
    ASSERT_TRUE(store.ok()) << store.error().message;
    core_ = std::make_unique<EngineCore>(std::move(runner), EngineOptions{.max_sequences = 4}, *std::move(store));
  }

  // Starts a turn, or ends one early.
  void act() {
    Talk& talk = talks_[static_cast<std::size_t>(pick(0, std::ssize(talks_) - 1))];
    if (talk.stream != nullptr) {
      if (pick(0, 30) == 0) {
        talk.cancelled = talk.stream->finish == FinishReason::kNone;
        core_->cancel(talk.id);
      }
      finish(talk);
      return;
    }
    if (pick(0, 4) == 0) {
      const auto more = random_tokens(pick(1, 90));
      talk.tokens.insert(talk.tokens.end(), more.begin(), more.end());
    }
    if (talk.tokens.size() > 600) talk.tokens.resize(static_cast<std::size_t>(pick(30, 400)));
    Request request;
    request.prompt = talk.tokens;
    request.max_tokens = pick(1, 60);
    request.sampling.temperature = 0;
    request.cache_salt = {.high = static_cast<std::uint64_t>(pick(0, 9) == 0), .low = 0};
    request.sink = talk.stream = std::make_shared<Stream>();
    talk.cancelled = false;
    ASSERT_TRUE(check_request(request, core_->limits()).ok());
    core_->add(talk.id = RequestId{++last_id_}, std::move(request));
  }

  void advance() {
    if (core_->runnable()) {
      ASSERT_TRUE(core_->step() || !core_->runnable()) << "requests wait and none advances";
    } else {
      core_->pump();
      if (!core_->runnable()) std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    const Status status = core_->check_integrity();
    ASSERT_TRUE(status.ok()) << status.error().message;
    ASSERT_THAT(log_.errors, IsEmpty());
  }

  // What a finished turn said must be what its prompt alone gives.
  void finish(Talk& talk) {
    if (talk.stream == nullptr || talk.stream->finish == FinishReason::kNone) return;
    EXPECT_TRUE(talk.cancelled || talk.stream->finish == FinishReason::kLength);
    for (const TokenId token : talk.stream->said) {
      const auto logits = PrefixRunner::logits_after(talk.tokens, kVocab);
      EXPECT_EQ(token, std::max_element(logits.begin(), logits.end()) - logits.begin());
      talk.tokens.push_back(token);
    }
    ++turns;
    cached += talk.stream->cached;
    talk.stream = nullptr;
  }

  void damage() {
    if (!fs::exists(dir_ + "/pages")) return;
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(dir_ + "/pages"))
      if (entry.is_regular_file()) files.push_back(entry.path());
    for (const fs::path& file : files) {
      const auto size = static_cast<std::int64_t>(fs::file_size(file));
      if (size == 0) continue;
      switch (pick(0, 12)) {
        case 0:
          fs::resize_file(file, static_cast<std::uintmax_t>(pick(0, size)));
          break;
        case 1: {
          std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
          stream.seekp(pick(0, size - 1));
          stream.put(static_cast<char>(pick(0, 255)));
          break;
        }
        case 2:
          if (const fs::path& other = files[static_cast<std::size_t>(pick(0, std::ssize(files) - 1))]; other != file)
            fs::copy_file(other, file, fs::copy_options::overwrite_existing);
          break;
        case 3:
          fs::resize_file(file, 0);
          break;
        default:
          break;
      }
    }
  }

  std::mt19937_64 random_;
  const std::string dir_;
  PrefixRunnerLog log_;
  std::unique_ptr<EngineCore> core_;
  std::vector<Talk> talks_;
  std::uint64_t last_id_ = 0;
};

TEST(KvDiskProperty, RestartsAndDamageNeverShowInATokenOrAnInvariant) {
  std::int64_t restored = 0, written = 0, bad = 0, evicted = 0, errors = 0, turns = 0, cached = 0;
  for (std::uint64_t seed = 1; seed <= 25; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    World world(seed);
    world.run(6);
    if (HasFailure()) return;
    restored += world.restored;
    written += world.written;
    bad += world.bad;
    evicted += world.evicted;
    errors += world.errors;
    turns += world.turns;
    cached += world.cached;
  }
  RecordProperty("turns", static_cast<int>(turns));
  RecordProperty("blocks_restored", static_cast<int>(restored));
  RecordProperty("pages_bad", static_cast<int>(bad));
  // The test means something only if all of these happened.
  EXPECT_GT(turns, 500);
  EXPECT_GT(restored, 200);
  EXPECT_GT(written, 500);
  EXPECT_GT(bad, 30);
  EXPECT_GT(evicted, 50);
  EXPECT_GT(errors, 1);
  EXPECT_GT(cached, 10'000);
}

}  // namespace
}  // namespace baltoro::engine
