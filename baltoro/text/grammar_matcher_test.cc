// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/grammar_matcher.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "baltoro/text/grammar_sample_test.h"
#include "baltoro/text/schema_check_test.h"

namespace baltoro::text {
namespace {

std::shared_ptr<GrammarVocabulary> small_vocabulary() {
  static const auto vocabulary = *make_grammar_vocabulary(std::make_shared<SmallTokenizer>());
  return vocabulary;
}

std::shared_ptr<GrammarVocabulary> kimi_vocabulary() {
  static const auto vocabulary = [] {
    auto tokenizer = load_tokenizer(std::string(BALTORO_SHARED_DIR) + "/tokenizer/kimi");
    return tokenizer.ok() ? *make_grammar_vocabulary(*tokenizer) : nullptr;
  }();
  return vocabulary;
}

std::shared_ptr<const SchemaGraph> graph_of(const std::string& schema, GrammarVocabulary& vocabulary,
                                            SchemaMode mode = SchemaMode::kLoose, bool root_object = false) {
  const auto value = json::parse(schema);
  EXPECT_TRUE(value.ok()) << schema;
  auto graph = compile_schema(*value, mode, root_object, vocabulary.trie);
  EXPECT_TRUE(graph.ok()) << schema << ": " << graph.error().message;
  return *graph;
}

// Whether the text, token by token of one byte, is a value of the schema and every prefix of it is open.
bool takes(const std::string& schema, const std::string& text, SchemaMode mode = SchemaMode::kLoose) {
  const auto vocabulary = small_vocabulary();
  GrammarMatcher matcher(vocabulary, graph_of(schema, *vocabulary, mode));
  std::vector<std::uint64_t> allowed((static_cast<std::size_t>(vocabulary->trie.vocab_size()) + 63) / 64);
  for (const char c : text) {
    std::fill(allowed.begin(), allowed.end(), 0);
    matcher.fill(allowed, 1 << 20);
    const auto byte = static_cast<unsigned char>(c);
    const bool open = (allowed[byte / 64] >> (byte % 64) & 1) != 0;
    const bool taken = matcher.accept({&c, 1});
    EXPECT_EQ(open, taken) << schema << " at '" << c << "' of " << text;
    if (!taken) return false;
  }
  return matcher.can_end();
}

void expect_samples_satisfy(const std::string& schema, const std::shared_ptr<GrammarVocabulary>& vocabulary,
                            int samples, std::uint32_t seed = 1) {
  const auto document = *json::parse(schema);
  const auto graph = graph_of(schema, *vocabulary);
  GrammarMatcher matcher(vocabulary, graph);
  std::mt19937 rng(seed);
  for (int i = 0; i < samples; ++i) {
    const std::int64_t least = matcher.cost();
    const std::int64_t tokens = least + std::uniform_int_distribution<std::int64_t>(0, i % 3 == 0 ? 2 : 120)(rng);
    const std::string text = sample(*vocabulary, matcher, rng, tokens, 0.2);
    const auto value = json::parse(text);
    ASSERT_TRUE(value.ok()) << schema << "\n" << text << "\n" << value.error().message;
    ASSERT_TRUE(satisfies(document, document, *value)) << schema << "\n" << text;
    ASSERT_EQ(json::dump(*value).size() > 0, true);
    if (testing::Test::HasFailure()) return;
  }
}

const char* const kSchemas[] = {
    "true",
    "{}",
    R"({"type":"object"})",
    R"({"type":"string"})",
    R"({"type":"string","minLength":3,"maxLength":5})",
    R"({"type":"string","maxLength":0})",
    R"({"type":"integer"})",
    R"({"type":"number"})",
    R"({"type":"integer","minimum":-5,"maximum":300})",
    R"({"type":"integer","exclusiveMinimum":0})",
    R"({"type":"number","minimum":-1.25,"exclusiveMaximum":3.5})",
    R"({"type":"number","exclusiveMinimum":0,"maximum":0.001})",
    R"({"type":"number","maximum":-1e3})",
    R"({"enum":["a","ab",1,10,1.5,null,{"x":[1]}]})",
    R"({"const":{"a":"\"quoted\" \n"}})",
    R"({"type":["string","null","integer"]})",
    R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":4})",
    R"({"type":"array","prefixItems":[{"type":"string"},{"type":"boolean"}],"items":false,"minItems":1})",
    R"({"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"null"},"minItems":3})",
    R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["b"],"additionalProperties":false})",
    R"({"type":"object","properties":{"a":{"type":"integer"},"name":{"type":"string"},"abc":{"const":"x"}},"required":["name"]})",
    R"({"type":"object","properties":{"q\"uo\\te\n":{"type":"integer"}},"required":["q\"uo\\te\n"]})",
    R"({"type":"object","additionalProperties":{"type":"integer"},"properties":{"a":{"type":"string"}}})",
    R"({"type":"object","required":["z"],"additionalProperties":{"type":"boolean"}})",
    R"({"anyOf":[{"type":"string"},{"type":"array","items":{"type":"string"}},{"type":"object","properties":{"a":{"const":1}},"required":["a"]}]})",
    R"({"type":"object","properties":{"kind":{"type":"string"}},"anyOf":[{"properties":{"a":{"type":"integer"}},"required":["a"]},{"required":["kind"]}]})",
    R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer","minimum":3}}},{"properties":{"a":{"maximum":5}},"required":["a"]}]})",
    R"({"$defs":{"n":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/n"}]}},"required":["v","next"],"additionalProperties":false}},"$ref":"#/$defs/n"})",
    R"({"type":"object","properties":{"child":{"$ref":"#"},"name":{"type":"string"}},"required":["name"],"additionalProperties":false})",
    R"({"type":"array","items":{"$ref":"#"}})",
    R"({"oneOf":[{"type":"integer"},{"type":"string","maxLength":2}]})",
    R"({"anyOf":[{"type":"array","items":{"type":"integer"},"minItems":1},{"type":"array","items":{"type":"string"},"minItems":2}]})",
};

TEST(GrammarMatcher, SamplesSatisfyTheSchemaAndTheBudget) {
  for (const char* schema : kSchemas) {
    expect_samples_satisfy(schema, small_vocabulary(), 60);
    if (HasFailure()) return;
  }
}

TEST(GrammarMatcher, SamplesSatisfyTheSchemaWithTheRealVocabulary) {
  const auto vocabulary = kimi_vocabulary();
  if (vocabulary == nullptr) GTEST_SKIP() << "no " << BALTORO_SHARED_DIR << "/tokenizer/kimi";
  for (const char* schema : kSchemas) {
    expect_samples_satisfy(schema, vocabulary, 4);
    if (HasFailure()) return;
  }
}

TEST(GrammarMatcher, TakesWhatTheSchemaSays) {
  EXPECT_TRUE(takes(R"({"type":"object"})", R"({"a":1,"b":{"c":[true,"x",-1.5e3]}})"));
  EXPECT_FALSE(takes(R"({"type":"object"})", R"({"a":1,"a":2})"));
  EXPECT_FALSE(takes(R"({"type":"object"})", R"({"a": 1})"));
  const std::string closed =
      R"({"type":"object","properties":{"a":{"type":"integer"},"ab":{"type":"string"}},"required":["ab"],"additionalProperties":false})";
  EXPECT_TRUE(takes(closed, R"({"ab":"x"})"));
  EXPECT_TRUE(takes(closed, R"({"ab":"x","a":3})"));
  EXPECT_TRUE(takes(closed, R"({"a":3,"ab":"x"})"));
  EXPECT_FALSE(takes(closed, R"({"a":3})"));
  EXPECT_FALSE(takes(closed, R"({"ab":"x","c":1})"));
  EXPECT_FALSE(takes(closed, R"({"a":3,"a":4,"ab":"x"})"));
  EXPECT_TRUE(takes(R"({"type":"string"})", R"("\ud83d\ude00 \u00e9 \n é")"));
  EXPECT_FALSE(takes(R"({"type":"string"})", R"("\ud83d")"));
  EXPECT_FALSE(takes(R"({"type":"string"})", "\"\xC0\x80\""));
  EXPECT_TRUE(takes(R"({"type":"string","maxLength":2})", R"("😀é")"));
  EXPECT_FALSE(takes(R"({"type":"string","maxLength":2})", R"("😀éa")"));
  EXPECT_TRUE(takes(R"({"type":"string","pattern":"^[a-z]+(-\\d{2})?$"})", R"("abc-12")"));
  EXPECT_FALSE(takes(R"({"type":"string","pattern":"^[a-z]+(-\\d{2})?$"})", R"("abc-1")"));
  EXPECT_TRUE(takes(R"({"type":"string","pattern":"b"})", R"("a\"bc")"));
  EXPECT_FALSE(takes(R"({"type":"string","pattern":"b"})", R"("ac")"));
  EXPECT_TRUE(takes(R"({"type":"string","format":"date-time"})", R"("2024-02-28T23:59:59.5+01:00")"));
  EXPECT_FALSE(takes(R"({"type":"string","format":"date-time"})", R"("2024-02-30T23:59:59Z")"));
  EXPECT_TRUE(takes(R"({"type":"string","format":"uuid"})", R"("123e4567-e89b-12d3-a456-426614174000")"));
  EXPECT_TRUE(takes(R"({"type":"string","format":"email"})", R"("a.b@example.org")"));
  EXPECT_TRUE(takes(R"({"type":"integer","minimum":10,"maximum":1000})", "10"));
  EXPECT_TRUE(takes(R"({"type":"integer","minimum":10,"maximum":1000})", "1000"));
  EXPECT_FALSE(takes(R"({"type":"integer","minimum":10,"maximum":1000})", "9"));
  EXPECT_FALSE(takes(R"({"type":"integer","minimum":10,"maximum":1000})", "1001"));
  EXPECT_TRUE(takes(R"({"type":"number","minimum":-0.5})", "-0.5"));
  EXPECT_FALSE(takes(R"({"type":"number","minimum":-0.5})", "-0.51"));
  EXPECT_TRUE(takes(R"({"type":"number","minimum":-0.5})", "12345.678"));
  EXPECT_FALSE(takes(R"({"type":"number","exclusiveMaximum":1})", "1.0"));
  EXPECT_TRUE(takes(R"({"type":"number","exclusiveMaximum":1})", "0.999"));
}

TEST(GrammarMatcher, NestsBoundedlyAndStillEnds) {
  const auto vocabulary = small_vocabulary();
  GrammarMatcher matcher(vocabulary, graph_of(R"({"type":"array","items":{"$ref":"#"}})", *vocabulary));
  int depth = 0;
  while (matcher.accept("[") && depth < 200) ++depth;
  EXPECT_EQ(depth, kMaxValueDepth);
}

// Over kMaxTops alternatives, opened by one byte or by one in another: none of their masks leads to a dead end.
TEST(GrammarMatcher, MoreAlternativesThanAreFollowedNeverEndInNothing) {
  std::string arrays, objects, patterns;
  for (int i = 0; i < 240; ++i) {
    const std::string n = std::to_string(i), comma = i == 0 ? "" : ",";
    arrays += comma + R"({"type":"array","items":{"$ref":"#/$defs/x"},"minItems":)" + std::to_string(i % 7) + "}";
    objects += comma + R"({"type":"object","properties":{"p)" + n + R"(":{"$ref":"#/$defs/x"}},"required":["p)" + n +
               R"("],"additionalProperties":)" + (i % 2 == 0 ? "false" : "true") + "}";
    patterns += comma + R"({"type":"string","pattern":"^[^x]*)" + n + R"([^y]*$"})";
  }
  const auto recursive = [](const std::string& options) {
    return R"({"$defs":{"x":{"anyOf":[{"type":"null"},)" + options + R"(]}},"$ref":"#/$defs/x"})";
  };
  for (const std::string& schema :
       {recursive(arrays), recursive(objects), R"({"anyOf":[)" + patterns + "]}", recursive(arrays + "," + objects)}) {
    expect_samples_satisfy(schema, small_vocabulary(), 40);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace baltoro::text
