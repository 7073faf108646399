// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/verify.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "baltoro/model/folder_for_test.h"
#include "baltoro/model/golden_replay.h"

namespace baltoro::model {
namespace {

using tensor::DType;
using test::LooseTensors;
using test::small_config;
using test::TemporaryFolder;
using testing::HasSubstr;

TEST(ScanValues, CountsNanInfinityAndNegatives) {
  const float f32[6] = {1, -2, INFINITY, -INFINITY, NAN, -0.0F};
  auto scan = scan_values(DType::kF32, std::as_bytes(std::span(f32)), true);
  EXPECT_EQ(scan.not_finite, 3);
  EXPECT_EQ(scan.negative, 2);  // -2 and -inf; -0 is no negative scale
  EXPECT_EQ(scan_values(DType::kF32, std::as_bytes(std::span(f32)), false).negative, 0);
  const std::uint16_t bf16[4] = {0x7F80, 0xFFC0, 0x7F7F, 0xBF80};
  scan = scan_values(DType::kBF16, std::as_bytes(std::span(bf16)), true);
  EXPECT_EQ(scan.not_finite, 2);
  EXPECT_EQ(scan.negative, 2);
  const std::uint16_t f16[3] = {0x7C00, 0xFE00, 0x7BFF};
  EXPECT_EQ(scan_values(DType::kF16, std::as_bytes(std::span(f16)), false).not_finite, 2);
  const std::uint8_t fp8[4] = {0x7F, 0xFF, 0x7E, 0xFE};
  EXPECT_EQ(scan_values(DType::kF8E4M3, std::as_bytes(std::span(fp8)), false).not_finite, 2);
  EXPECT_EQ(scan_values(DType::kI32, std::as_bytes(std::span(f32)), true).not_finite, 0);
}

class VerifyTest : public testing::Test {
 protected:
  void SetUp() override {
    tensors_ = test::loose_checkpoint(small_config(), QuantScheme::kInt4);
    test::write_folder(folder_.path(), small_config(), tensors_);
  }
  VerifyReport verify(const std::string& journal = "") {
    auto report = verify_checkpoint(
        {.dir = folder_.path(), .journal = journal, .threads = 2, .progress = ProgressStyle::kSilent});
    EXPECT_TRUE(report.ok()) << report.error().message;
    return report.ok() ? *std::move(report) : VerifyReport{};
  }
  void spoil(const std::string& name, std::size_t offset, std::uint16_t bits) {
    std::memcpy(tensors_[name].bytes.data() + offset, &bits, sizeof bits);
    test::write_folder(folder_.path(), small_config(), tensors_);
  }

  TemporaryFolder folder_;
  LooseTensors tensors_;
};

TEST_F(VerifyTest, AGoodFolderHasNoProblemsAndADigestForEveryTensor) {
  const VerifyReport report = verify();
  EXPECT_EQ(report.problem_count, 0);
  EXPECT_EQ(report.tensors.size(), tensors_.size());
  for (const auto& [name, scan] : report.tensors) EXPECT_EQ(scan.digest, sha256(tensors_[name].bytes)) << name;
}

TEST_F(VerifyTest, NanInWeightsAndScalesIsFound) {
  const std::string scale = "model.layers.1.mlp.experts.3.down_proj.weight_scale";
  spoil("lm_head.weight", 20, 0x7FC0);
  spoil(scale, 4, 0xFF80);
  spoil("model.layers.1.mlp.experts.4.down_proj.weight_scale", 4, 0xBF80);
  const VerifyReport report = verify();
  ASSERT_EQ(report.problem_count, 2);
  EXPECT_EQ(report.problems[0].tensor, "lm_head.weight");
  EXPECT_THAT(report.problems[0].message, HasSubstr("1 are NaN or infinite"));
  EXPECT_EQ(report.problems[1].tensor, scale);
  EXPECT_EQ(report.negative_scales, 2);  // the -inf one too
}

TEST_F(VerifyTest, AWrongWeightShapeIsFound) {
  spoil("model.layers.1.mlp.experts.0.up_proj.weight_shape", 0, 63);
  const VerifyReport report = verify();
  ASSERT_EQ(report.problem_count, 1);
  EXPECT_THAT(report.problems[0].message, HasSubstr("[64, 160] expected, the file has [63, 160]"));
}

TEST_F(VerifyTest, StructureIsListedInFullWithoutReadingData) {
  tensors_.erase("model.norm.weight");
  tensors_.erase("lm_head.weight");
  test::write_folder(folder_.path(), small_config(), tensors_);
  const auto report = verify_checkpoint({.dir = folder_.path(), .read_data = false, .journal = ""});
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->problem_count, 2);
  EXPECT_TRUE(report->tensors.empty());
}

TEST_F(VerifyTest, ChecksumsNameTheFlippedBit) {
  const VerifyReport good = verify();
  const std::string sums = checksum_text(good);
  VerifyReport same = verify();
  ASSERT_TRUE(compare_checksums(sums, same).ok());
  EXPECT_EQ(same.problem_count, 0);
  EXPECT_EQ(checkpoint_checksum(good), checkpoint_checksum(same));

  spoil("model.embed_tokens.weight", 1000, 0x3F81);
  VerifyReport flipped = verify();
  ASSERT_TRUE(compare_checksums(sums, flipped).ok());
  ASSERT_EQ(flipped.problem_count, 1);
  EXPECT_EQ(flipped.problems[0].tensor, "model.embed_tokens.weight");
  EXPECT_NE(checkpoint_checksum(good), checkpoint_checksum(flipped));

  VerifyReport other = good;
  other.tensors.erase("model.norm.weight");
  other.tensors["extra"] = {};
  ASSERT_TRUE(compare_checksums(sums, other).ok());
  EXPECT_EQ(other.problem_count, 2);
  for (const char* bad : {"x", "zz  name\n", "0123  name\n"}) {
    EXPECT_EQ(compare_checksums(bad, other).error().code, Errc::kCorrupt);
  }
}

TEST_F(VerifyTest, AnInterruptedRunGoesOnFromItsJournal) {
  const VerifyReport whole = verify();
  const std::string journal = folder_ / "journal";
  // A run that got through three tensors and was cut off in the fourth's line. One digest is made up, to see it used.
  ASSERT_EQ(verify(journal).resumed, 0);
  EXPECT_FALSE(file_exists(journal)) << "removed when all is read";
  ASSERT_TRUE(write_file_atomically(journal, "baltoro verify journal 1 other\n").ok());
  EXPECT_EQ(verify(journal).resumed, 0) << "another identity";

  // To learn the identity, look at a journal in use: a checkpoint of which reading is refused keeps it.
  const auto checkpoint = Checkpoint::open(folder_.path());
  ASSERT_TRUE(checkpoint.ok());
  const std::string title = journal_title(**checkpoint);
  std::string text = title;
  text += std::string(64, 'a') + " 0 0 lm_head.weight\n";
  text += to_hex(whole.tensors.at("model.norm.weight").digest) + " 2 0 model.norm.weight\n";
  text += std::string(64, 'b') + " 0 0 model.embed_tok";
  ASSERT_TRUE(write_file_atomically(journal, text).ok());
  const VerifyReport resumed = verify(journal);
  EXPECT_EQ(resumed.resumed, 2);
  EXPECT_EQ(resumed.tensors.size(), whole.tensors.size());
  EXPECT_EQ(to_hex(resumed.tensors.at("lm_head.weight").digest), std::string(64, 'a'));
  EXPECT_EQ(resumed.tensors.at("model.embed_tokens.weight").digest,
            whole.tensors.at("model.embed_tokens.weight").digest);
  ASSERT_EQ(resumed.problem_count, 1);
  EXPECT_EQ(resumed.problems[0].tensor, "model.norm.weight");
}

TEST_F(VerifyTest, AForeignFileIsNoJournal) {
  ASSERT_TRUE(write_file_atomically(folder_ / "notes", "mine").ok());
  const auto report = verify_checkpoint({.dir = folder_.path(), .journal = folder_ / "notes"});
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().code, Errc::kPermissionDenied);
  EXPECT_EQ(*read_file(folder_ / "notes", 100), "mine");
}

// --- golden replay

class GoldenReplayTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = std::string(BALTORO_SHARED_DIR) + "/fixtures/checkpoints/tiny/int4";
    if (!is_directory(dir_)) GTEST_SKIP() << "needs " << dir_;
    auto opened = open_weights(dir_);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    weights_ = *std::move(opened);
  }
  // The golden with one element changed.
  std::string spoiled(const std::string& name, std::size_t element, std::uint32_t bits) {
    const auto file = SafetensorsFile::open(dir_ + "/golden.safetensors");
    std::vector<test::LooseTensor> tensors;
    std::vector<const test::LooseTensor*> pointers;
    for (const TensorView& view : file->tensors()) {
      tensors.push_back({view.info, std::vector<std::byte>(view.data.begin(), view.data.end())});
      if (view.info.name == name) std::memcpy(tensors.back().bytes.data() + element * 4, &bits, sizeof bits);
    }
    for (const auto& tensor : tensors) pointers.push_back(&tensor);
    test::write_shard(folder_ / "g.safetensors", pointers);
    return folder_ / "g.safetensors";
  }

  std::string dir_;
  TemporaryFolder folder_;
  std::shared_ptr<const Weights> weights_;
};

TEST_F(GoldenReplayTest, TheGoldenPassesAndASpoiledOneFails) {
  const auto good = replay_golden(weights_, dir_ + "/golden.safetensors", 2);
  ASSERT_TRUE(good.ok()) << good.error().message;
  for (const GoldenReplay& replay : *good) EXPECT_TRUE(replay.passed());
  EXPECT_EQ(good->front().tokens_routed, 96);
  EXPECT_EQ(good->front().greedy_alike, 24);
  const auto logits = replay_golden(weights_, spoiled("logits", 77, std::bit_cast<std::uint32_t>(50.0F)), 2);
  ASSERT_TRUE(logits.ok());
  EXPECT_FALSE(logits->front().passed());
  const auto hidden = replay_golden(weights_, spoiled("hidden.1", 5, std::bit_cast<std::uint32_t>(NAN)), 2);
  EXPECT_EQ(hidden->front().first_bad_layer, 1);
  EXPECT_FALSE(hidden->front().passed());
  const auto routed = replay_golden(weights_, spoiled("greedy", 3, 9), 2);
  EXPECT_FALSE(routed->front().passed());
}

TEST_F(GoldenReplayTest, MalformedGoldensAreRefused) {
  EXPECT_THAT(replay_golden(weights_, spoiled("tokens", 0, 512), 1).error().message, HasSubstr("in [0, 512)"));
  EXPECT_THAT(replay_golden(weights_, spoiled("topk_indices.1", 0, 8), 1).error().message, HasSubstr("in [0, 8)"));
  const auto tokens = test::make_tensor("tokens", DType::kI32, {3});
  const auto logits = test::make_tensor("logits", DType::kF32, {3, 511});
  test::write_shard(folder_ / "g.safetensors", {&tokens, &logits});
  EXPECT_THAT(replay_golden(weights_, folder_ / "g.safetensors", 1).error().message,
              HasSubstr("1536 elements expected"));
  test::write_shard(folder_ / "g.safetensors", {&logits});
  EXPECT_EQ(replay_golden(weights_, folder_ / "g.safetensors", 1).error().code, Errc::kCorrupt);
}

}  // namespace
}  // namespace baltoro::model
