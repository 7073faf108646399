// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/direct_reader.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>

#include "baltoro/base/file.h"
#include "baltoro/base/huge_pages.h"
#include "baltoro/base/read_queue.h"
#include "baltoro/base/read_rate.h"

namespace baltoro {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kFileBytes = 3'000'001;  // ends inside a block

// Outcomes by tag.
class Outcomes {
 public:
  BlockReader::Done done() {
    return [this](std::uint32_t tag, Status status) {
      {
        const std::lock_guard lock(mutex_);
        EXPECT_TRUE(by_tag_.emplace(tag, std::move(status)).second) << "one end a read";
        order_.push_back(tag);
      }
      changed_.notify_all();
    };
  }
  void wait(std::size_t count) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return by_tag_.size() >= count; }));
  }
  const Status& of(std::uint32_t tag) { return by_tag_.at(tag); }
  const std::vector<std::uint32_t>& order() const { return order_; }
  std::size_t count() {
    const std::lock_guard lock(mutex_);
    return by_tag_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint32_t, Status> by_tag_;
  std::vector<std::uint32_t> order_;
};

struct Way {
  const char* name;
  bool io_uring, direct;
};

class DirectReader : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    path_ = testing::TempDir() + "direct_reader_" + std::to_string(::getpid());
    std::string content(kFileBytes, '\0');
    std::mt19937 random(7);
    for (char& c : content) c = static_cast<char>(random());
    ASSERT_TRUE(write_file_atomically(path_, content).ok());
    content_ = std::move(content);
  }
  void TearDown() override { ASSERT_TRUE(remove_file(path_).ok()); }
  std::unique_ptr<BlockReader> open(std::int64_t piece_bytes = 1 << 16, int depth = 4) {
    auto reader = open_direct_reader({path_, path_}, outcomes_.done(),
                                     {.tags = 200,
                                      .depth = depth,
                                      .piece_bytes = piece_bytes,
                                      .io_uring = GetParam().io_uring,
                                      .direct = GetParam().direct});
    EXPECT_TRUE(reader.ok()) << reader.error().message;
    return *std::move(reader);
  }
  std::string_view read_back(std::int64_t at, std::int64_t bytes) const {
    return {reinterpret_cast<const char*>(memory_.data() + at), static_cast<std::size_t>(bytes)};
  }

  std::string path_, content_;
  HugeBuffer memory_ = *HugeBuffer::create(8 << 20);
  Outcomes outcomes_;
};

TEST_P(DirectReader, BringsEveryRangeWhole) {
  std::mt19937 random(11);
  const auto reader = open();
  EXPECT_THAT(reader->way(), HasSubstr(GetParam().io_uring ? "io_uring" : "pread by 4 threads"));
  std::vector<BlockRead> reads;
  std::int64_t room = 0;
  for (std::uint32_t tag = 0; tag < 40; ++tag) {
    BlockRead read{.tag = tag, .file = static_cast<int>(tag % 2)};
    read.offset = static_cast<std::int64_t>(random() % (kFileBytes / kReadAlignment)) * kReadAlignment;
    read.bytes = std::min<std::int64_t>(1 + random() % 300'000, kFileBytes - read.offset);
    read.into = memory_.data() + room;
    room += (read.bytes + 2 * kReadAlignment - 1) / kReadAlignment * kReadAlignment;
    ASSERT_LE(room, std::int64_t(memory_.size()));
    reads.push_back(read);
    reader->read(read, tag % 3 == 0 ? Urgency::kLater : Urgency::kNow);
  }
  outcomes_.wait(reads.size());
  std::int64_t bytes = 0;
  for (const BlockRead& read : reads) {
    ASSERT_TRUE(outcomes_.of(read.tag).ok()) << outcomes_.of(read.tag).error().message;
    EXPECT_EQ(
        read_back(read.into - memory_.data(), read.bytes),
        std::string_view(content_).substr(static_cast<std::size_t>(read.offset), static_cast<std::size_t>(read.bytes)));
    bytes += read.bytes;
  }
  EXPECT_GE(reader->stats().bytes_read, bytes);
  EXPECT_LT(reader->stats().bytes_read, bytes + std::int64_t(reads.size()) * 6 * kReadAlignment);
  EXPECT_GT(reader->stats().busy_seconds, 0);
}

TEST_P(DirectReader, AFileThatShrankIsAnErrorNotData) {
  const auto reader = open();
  ASSERT_EQ(::truncate(path_.c_str(), 1'000'000), 0);
  reader->read({.tag = 0, .offset = 0, .bytes = 900'000, .into = memory_.data()}, Urgency::kNow);
  reader->read({.tag = 1, .offset = 942'080, .bytes = 200'000, .into = memory_.data() + (2 << 20)}, Urgency::kNow);
  reader->read({.tag = 2, .offset = 2'048'000, .bytes = 200'000, .into = memory_.data() + (4 << 20)}, Urgency::kNow);
  outcomes_.wait(3);
  EXPECT_TRUE(outcomes_.of(0).ok());
  for (const std::uint32_t tag : {1u, 2u}) {
    ASSERT_FALSE(outcomes_.of(tag).ok());
    EXPECT_EQ(outcomes_.of(tag).error().code, Errc::kCorrupt);
    EXPECT_THAT(outcomes_.of(tag).error().message, HasSubstr(path_));
  }
}

// This process's own memory as a file: what is mapped can be read, address 0 is an I/O error.
TEST_P(DirectReader, WhatCannotBeReadIsTriedTwice) {
  const auto reader =
      open_direct_reader({"/proc/self/mem"}, outcomes_.done(),
                         {.tags = 2, .depth = 2, .piece_bytes = 1 << 16, .io_uring = GetParam().io_uring});
  ASSERT_TRUE(reader.ok()) << reader.error().message;
  const auto own = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(memory_.data()));
  std::memset(memory_.data(), 7, kReadAlignment);
  (*reader)->read({.tag = 0, .offset = 0, .bytes = 100, .into = memory_.data() + (1 << 20)}, Urgency::kNow);
  (*reader)->read({.tag = 1, .offset = own, .bytes = 100, .into = memory_.data() + (2 << 20)}, Urgency::kNow);
  outcomes_.wait(2);
  ASSERT_FALSE(outcomes_.of(0).ok());
  EXPECT_EQ(outcomes_.of(0).error().code, Errc::kIo);
  EXPECT_THAT(outcomes_.of(0).error().message, HasSubstr("/proc/self/mem"));
  EXPECT_TRUE(outcomes_.of(1).ok());
  EXPECT_EQ(read_back(2 << 20, 100), std::string(100, 7));
  EXPECT_EQ((*reader)->stats().retries, 1);
}

TEST_P(DirectReader, ARemovedFileIsStillRead) {
  const auto reader = open();
  ASSERT_TRUE(remove_file(path_).ok());
  reader->read({.tag = 0, .bytes = kFileBytes, .into = memory_.data()}, Urgency::kNow);
  outcomes_.wait(1);
  EXPECT_TRUE(outcomes_.of(0).ok());
  EXPECT_EQ(read_back(0, kFileBytes), content_);
}

// Half of the reads are cancelled while they are under way: each ends once, or was told never to, and those that end
// well brought their bytes.
TEST_P(DirectReader, CancelledReadsEndOnceOrNever) {
  const auto reader = open(1 << 14, 2);
  std::size_t ends = 0;
  std::vector<bool> dropped(80);
  for (std::uint32_t tag = 0; tag < 80; ++tag) {
    reader->read({.tag = tag,
                  .offset = std::int64_t{tag} * kReadAlignment,
                  .bytes = 90'000,
                  .into = memory_.data() + std::int64_t{tag} * 98'304},
                 Urgency::kLater);
  }
  for (std::uint32_t tag = 1; tag < 80; tag += 2) dropped[tag] = reader->cancel(tag);
  for (const bool never : dropped) ends += !never;
  EXPECT_LT(ends, 80u);
  outcomes_.wait(ends);
  for (std::uint32_t tag = 0; tag < 80; ++tag) {
    if (dropped[tag]) continue;
    const Status& outcome = outcomes_.of(tag);
    if (outcome.ok()) {
      EXPECT_EQ(read_back(std::int64_t{tag} * 98'304, 90'000),
                std::string_view(content_).substr(std::size_t{tag} * kReadAlignment, 90'000));
    } else {
      EXPECT_EQ(outcome.error().code, Errc::kCancelled);
      EXPECT_EQ(tag % 2, 1u) << "nobody cancelled it";
    }
  }
  EXPECT_EQ(outcomes_.count(), ends);
}

TEST_P(DirectReader, DestructionForgetsWhatHasNotBegun) {
  for (int i = 0; i < 20; ++i) {
    Outcomes outcomes;
    auto reader =
        open_direct_reader({path_}, outcomes.done(), {.tags = 64, .depth = 2, .io_uring = GetParam().io_uring});
    ASSERT_TRUE(reader.ok());
    for (std::uint32_t tag = 0; tag < 64; ++tag) {
      (*reader)->read({.tag = tag, .bytes = 100'000, .into = memory_.data() + (tag % 8) * (1 << 20)}, Urgency::kNow);
    }
    reader->reset();
    const std::size_t count = outcomes.count();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(outcomes.count(), count);
  }
}

TEST_P(DirectReader, MissingFilesAreErrors) {
  const auto reader = open_direct_reader({path_ + ".none"}, outcomes_.done(), {.io_uring = GetParam().io_uring});
  ASSERT_FALSE(reader.ok());
  EXPECT_EQ(reader.error().code, Errc::kNotFound);
  const auto folder = open_direct_reader({testing::TempDir()}, outcomes_.done(), {.io_uring = GetParam().io_uring});
  ASSERT_FALSE(folder.ok());
  EXPECT_EQ(folder.error().code, Errc::kCorrupt);
}

TEST_P(DirectReader, TheRateCountsWhatWasRead) {
  const DirectReaderOptions options{.io_uring = GetParam().io_uring, .direct = GetParam().direct};
  const auto rate = measure_read_rate({path_, path_}, 2'000'000, 10'000'000, options);
  ASSERT_TRUE(rate.ok()) << rate.error().message;
  EXPECT_GE(rate->bytes, 10'000'000);
  EXPECT_GT(rate->bytes_per_s(), 0);
  EXPECT_FALSE(measure_read_rate({path_ + ".none"}, 0, 1, options).ok());
}

INSTANTIATE_TEST_SUITE_P(Ways, DirectReader,
                         testing::Values(Way{"ring_direct", true, true}, Way{"ring_cached", true, false},
                                         Way{"threads_direct", false, true}, Way{"threads_cached", false, false}),
                         [](const auto& way) { return std::string(way.param.name); });

TEST(ReadQueue, WhatIsUrgentGoesFirst) {
  ReadQueue queue(8, 1 << 16);
  HugeBuffer memory = *HugeBuffer::create(1 << 20);
  const auto read = [&](std::uint32_t tag, Urgency urgency) {
    queue.add({.tag = tag, .bytes = 100'000, .into = memory.data()}, urgency);
  };
  read(0, Urgency::kLater);
  read(1, Urgency::kLater);
  const auto first = queue.take();  // a later read begins while nothing else waits
  ASSERT_TRUE(first && first->tag == 0 && first->bytes == 1 << 16);
  read(2, Urgency::kNow);
  queue.hurry(1);
  std::vector<std::uint32_t> order;
  while (const auto piece = queue.take()) order.push_back(piece->tag);
  EXPECT_EQ(order, (std::vector<std::uint32_t>{2, 2, 1, 1, 0}));
}

TEST(ReadQueue, WhatIsCancelledEndsWithWhatHasBegun) {
  ReadQueue queue(3, 1 << 16);
  HugeBuffer memory = *HugeBuffer::create(1 << 20);
  const auto read = [&](std::uint32_t tag) {
    queue.add({.tag = tag, .bytes = 1 << 20, .into = memory.data()}, Urgency::kLater);
  };
  read(0), read(1);
  const auto piece = queue.take();
  ASSERT_TRUE(piece && piece->tag == 0);
  EXPECT_TRUE(queue.cancel(1)) << "nothing of it had begun";
  EXPECT_FALSE(queue.cancel(0)) << "a piece is under way";
  EXPECT_FALSE(queue.take().has_value());
  Status outcome;
  ASSERT_TRUE(queue.finish(*piece, 1 << 16, {}, &outcome));
  EXPECT_EQ(outcome.error().code, Errc::kCancelled);
  // Between its pieces nothing of a read is under way.
  read(0);
  const auto again = queue.take();
  EXPECT_FALSE(queue.finish(*again, 1 << 16, {}, &outcome));
  EXPECT_TRUE(queue.cancel(0));
  EXPECT_FALSE(queue.cancel(0)) << "it has ended";
  // What is all under way ends as it would have.
  queue.add({.tag = 2, .bytes = 4096, .into = memory.data()}, Urgency::kNow);
  const auto whole = queue.take();
  EXPECT_FALSE(queue.cancel(2));
  ASSERT_TRUE(queue.finish(*whole, 4096, {}, &outcome));
  EXPECT_TRUE(outcome.ok());
}

TEST(ReadQueue, AFailedPieceEndsItsRead) {
  ReadQueue queue(2, 1 << 16);
  HugeBuffer memory = *HugeBuffer::create(1 << 20);
  queue.add({.tag = 1, .bytes = 1 << 20, .into = memory.data()}, Urgency::kNow);
  const auto a = queue.take(), b = queue.take();
  Status outcome;
  EXPECT_FALSE(queue.finish(*a, 0, Error{Errc::kIo, "first"}, &outcome));
  EXPECT_FALSE(queue.take().has_value());
  EXPECT_TRUE(queue.finish(*b, 1 << 16, Error{Errc::kIo, "second"}, &outcome));
  EXPECT_EQ(outcome.error().message, "first");
  queue.add({.tag = 1, .bytes = 4096, .into = memory.data()}, Urgency::kNow);
  const auto c = queue.take();
  ASSERT_TRUE(c);
  EXPECT_TRUE(queue.finish(*c, 4096, {}, &outcome));
  EXPECT_TRUE(outcome.ok());
}

}  // namespace
}  // namespace baltoro
