// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/kv_identity.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>

#include "baltoro/model/folder_for_test.h"

namespace baltoro::model {
namespace {

namespace fs = std::filesystem;

class KvIdentityTest : public testing::Test {
 protected:
  void SetUp() override {
    test::write_folder(folder_.path(), test::small_config(),
                       test::loose_checkpoint(test::small_config(), QuantScheme::kFp8));
  }
  Sha256Digest identity(Math math = Math::kExact, DenseWeights dense = DenseWeights::kReleased,
                        LatentNormEps eps = LatentNormEps::kConfig) const {
    const auto made = kv_identity(folder_.path(), math, dense, eps);
    EXPECT_TRUE(made.ok()) << made.error().message;
    return *made;
  }
  test::TemporaryFolder folder_;
};

TEST_F(KvIdentityTest, EveryArithmeticHasItsOwnAndKeepsIt) {
  std::set<Sha256Digest> seen;
  for (const Math math : {Math::kExact, Math::kF32, Math::kFast})
    for (const DenseWeights dense : {DenseWeights::kReleased, DenseWeights::kInt8})
      for (const LatentNormEps eps : {LatentNormEps::kConfig, LatentNormEps::kHf}) {
        EXPECT_TRUE(seen.insert(identity(math, dense, eps)).second);
        EXPECT_EQ(identity(math, dense, eps), identity(math, dense, eps));
      }
}

TEST_F(KvIdentityTest, OtherFilesAreAnotherModel) {
  std::set<Sha256Digest> seen{identity()};
  const std::string weights = folder_ / "model.safetensors";
  const auto time = fs::last_write_time(weights);
  {
    std::fstream file(weights, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(fs::file_size(weights) / 2));
    file.put('x');
  }
  EXPECT_TRUE(seen.insert(identity()).second);
  fs::last_write_time(weights, time - std::chrono::seconds(5));
  EXPECT_TRUE(seen.insert(identity()).second);
  fs::rename(weights, folder_ / "other.safetensors");
  EXPECT_TRUE(seen.insert(identity()).second);
  std::ofstream(folder_ / "config.json", std::ios::app) << "\n";
  EXPECT_TRUE(seen.insert(identity()).second);
  std::ofstream(folder_ / "notes.txt") << "nothing that a bit depends on";
  EXPECT_FALSE(seen.insert(identity()).second);
}

}  // namespace
}  // namespace baltoro::model
