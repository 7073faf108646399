// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <set>
#include <string>

#include "baltoro/text/schema_graph.h"
#include "baltoro/text/test_tokenizer.h"

namespace baltoro::text {
namespace {

namespace fs = std::filesystem;

const TokenTrie& trie() {
  static const TokenTrie made = *TokenTrie::build(TestTokenizer(std::vector<std::string>{}));
  return made;
}

Result<std::shared_ptr<const SchemaGraph>> compile(const std::string& text, SchemaMode mode) {
  BALTORO_TRY(const json::Value schema, json::parse(text));
  return compile_schema(schema, mode, true, trie());
}

std::string refusal(const std::string& text) {
  const auto made = compile(text, SchemaMode::kStrict);
  return made.ok() ? "" : made.error().message;
}

// Refused by Moonshot's language, taken here, as each can be enforced exactly.
bool taken_on_purpose(const std::string& reason) {
  return reason.find("contain '/' character") != std::string::npos ||  // names are escaped in references
         reason.find("schema depth exceeds") != std::string::npos ||   // of 9 levels, or 64 through references
         reason.find("reserved for JSON Schema") != std::string::npos ||
         reason.find("is not allowed in combination") != std::string::npos;  // keywords of each type apply to it alone
}

TEST(SchemaCompiler, StrictAgreesWithWalle) {
  const fs::path folder = fs::path(BALTORO_SHARED_DIR) / "fixtures" / "walle";
  if (!fs::exists(folder)) GTEST_SKIP() << "no " << folder;
  int valid = 0, invalid = 0, taken = 0;
  std::set<fs::path> suites;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_directory()) suites.insert(entry.path());
  for (const fs::path& suite : suites) {
    std::ifstream good(suite / "valid.jsonl"), bad(suite / "invalid.jsonl");
    for (std::string line; std::getline(good, line);) {
      if (line.empty()) continue;
      ++valid;
      const json::Value schema = *json::parse(line);
      const auto made = compile_schema(schema, SchemaMode::kStrict, false, trie());
      EXPECT_TRUE(made.ok()) << suite.filename() << ": " << line << ": " << made.error().message;
    }
    for (std::string line; std::getline(bad, line);) {
      if (line.empty()) continue;
      ++invalid;
      const json::Value entry = *json::parse(line);
      const std::string reason = entry.find("expect")->as_string();
      const auto schema = json::parse(entry.find("schema")->as_string());
      if (!schema.ok() || !compile_schema(*schema, SchemaMode::kStrict, false, trie()).ok()) continue;
      ++taken;
      std::cout << "taken: " << suite.filename().string() << ": " << reason << "\n";
      // An empty array ends this recursion.
      const std::string dump = json::dump(*schema);
      const bool ends = reason == "infinite recursion" && dump.find("\"items\"") != dump.npos &&
                        dump.find("\"minItems\"") == dump.npos;
      EXPECT_TRUE(taken_on_purpose(reason) || ends) << reason << ": " << dump;
    }
  }
  std::cout << valid << " valid schemas accepted; of " << invalid << " invalid ones " << invalid - taken << " refused, "
            << taken << " taken on purpose\n";
  EXPECT_GT(valid, 100);
}

TEST(SchemaCompiler, LooseNeverFails) {
  for (const char* schema : {R"({"type":5})",
                             R"({"properties":3})",
                             R"({"$ref":"http://example.org/x"})",
                             R"({"$ref":"#/nowhere"})",
                             R"({"$ref":"#"})",
                             R"({"allOf":[{"$ref":"#"}]})",
                             R"({"enum":[]})",
                             R"({"enum":3})",
                             R"({"anyOf":[]})",
                             R"({"type":"object","required":["a"],"additionalProperties":false})",
                             R"({"type":"array","minItems":3,"maxItems":2})",
                             R"({"type":"string","pattern":"(?=x)y"})",
                             R"({"type":"string","pattern":"["})",
                             R"({"pattern":"(a+)+$","type":"string"})",
                             R"({"type":"string","pattern":"^(?:(?:a{0,999}){0,999}){0,999}$"})",
                             R"({"type":"string","minLength":1e9})",
                             R"({"type":"array","minItems":1000000000})",
                             R"({"not":{}})",
                             R"({"type":"number","multipleOf":0.01})",
                             R"({"type":"object","patternProperties":{"^x":{}}})",
                             R"({"oneOf":[{},{}]})",
                             R"({"type":["string","zebra"]})",
                             R"({"type":"integer","minimum":1e300})",
                             R"({"type":"number","minimum":5,"maximum":4})",
                             "false",
                             "true",
                             "3",
                             R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})"}) {
    const auto made = compile(schema, SchemaMode::kLoose);
    ASSERT_TRUE(made.ok()) << schema << ": " << made.error().message;
    EXPECT_LT((*made)->nodes[(*made)->root].cost, kNeverEnds + 1) << schema;
  }
}

TEST(SchemaCompiler, StrictSaysWhereAndWhat) {
  EXPECT_EQ(
      refusal(R"({"type":"object","properties":{"a":{"type":"array","items":{"type":"string","pattern":"(?=x)y"}}}})"),
      "[schema] #/properties/a/items: this pattern cannot be enforced");
  EXPECT_EQ(refusal(R"({"type":"object","properties":{"a":{"not":{}}}})"),
            "[schema] #/properties/a: unsupported keyword not");
  EXPECT_EQ(refusal(R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})"),
            "[schema] #: a schema that some finite value satisfies needed: infinite recursion or contradiction");
  EXPECT_NE(refusal(R"({"type":"object","properties":{"a":{"$ref":"http://example.org/x"}}})").find("never fetched"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"oneOf":[{"type":"integer"},{"type":"number"}]})").find("may both fit"), std::string::npos);
  EXPECT_EQ(refusal(R"({"oneOf":[{"type":"object","properties":{"t":{"const":"a"}},"required":["t"]},)"
                    R"({"type":"object","properties":{"t":{"const":"b"}},"required":["t"]}]})"),
            "");
  EXPECT_EQ(refusal(R"({"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":)"
                    R"({"a":{"type":"string","format":"date-time"},"b":{"type":"number","exclusiveMinimum":0},)"
                    R"("c":{"const":"x"},"d":{"type":"array","prefixItems":[{"type":"string"}],"items":false}}})"),
            "");
}

TEST(SchemaCompiler, StrictEnumsHoldTheirOtherKeywords) {
  for (const char* schema :
       {R"({"type":"string","enum":["a"],"format":"date"})", R"({"type":"string","enum":["a"],"format":"zebra"})",
        R"({"type":"string","enum":["xy"],"pattern":"(?=x)xy"})", R"({"type":"number","enum":[0.3],"multipleOf":0.1})",
        R"({"const":[1],"items":{"type":"string"}})"}) {
    EXPECT_NE(refusal(schema), "") << schema;
    EXPECT_TRUE(compile(schema, SchemaMode::kLoose).ok()) << schema;
  }
  EXPECT_NE(refusal(R"({"type":"integer","enum":[3],"multipleOf":2})"), "");  // nothing fits
  EXPECT_EQ(refusal(R"({"type":"string","enum":["2024-01-31"],"format":"date"})"), "");
  EXPECT_EQ(refusal(R"({"type":"string","enum":["ab","b"],"pattern":"^a"})"), "");
}

// Bombs end in bounded time, whatever comes of them.
TEST(SchemaCompiler, BombsAreBounded) {
  std::string nested = "{}", choices, names, chain = R"({"$defs":{)";
  for (int i = 0; i < 100; ++i) nested = R"({"type":"array","items":)" + nested + "}";
  const auto append = [](std::string& text, std::string_view before, int number, std::string_view behind) {
    text.append(before).append(std::to_string(number)).append(behind);
  };
  for (int i = 0; i < 3000; ++i)
    append(choices, i == 0 ? R"({"type":"object","properties":{"p)" : R"(,{"type":"object","properties":{"p)", i,
           R"(":{}}})");
  for (int i = 0; i < 20000; ++i) append(names, i == 0 ? R"("n)" : R"(,"n)", i, R"(":{"type":"string"})");
  for (int i = 0; i < 2000; ++i) {
    append(chain, R"("d)", i, R"(":{"$ref":"#/$defs/d)");
    append(chain, "", i + 1, R"("},)");
  }
  chain += R"("d2000":{"type":"string"}},"$ref":"#/$defs/d0"})";
  const std::string doubling =
      R"({"$defs":{"a":{"allOf":[{"properties":{"x":{"$ref":"#/$defs/b"}}},{"properties":{"x":{"$ref":"#/$defs/a"}}}]},)"
      R"("b":{"allOf":[{"properties":{"x":{"$ref":"#/$defs/a"}}},{"properties":{"x":{"$ref":"#/$defs/b"}}}]}},"$ref":"#/$defs/a"})";
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& schema : {nested, R"({"anyOf":[)" + choices + "]}",
                                    R"({"type":"object","properties":{)" + names + "}}", chain, doubling}) {
    EXPECT_TRUE(compile(schema, SchemaMode::kLoose).ok());
    static_cast<void>(compile(schema, SchemaMode::kStrict));
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

}  // namespace
}  // namespace baltoro::text
