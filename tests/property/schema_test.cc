// SPDX-License-Identifier: Apache-2.0
// Random schemas, texts drawn from their masks, and valid values made without the grammar: every text is a value that a
// plain validator accepts, every value can be written, and masks say what each token by itself says.
#include <gtest/gtest.h>
#include <regex.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "baltoro/base/file.h"
#include "baltoro/text/grammar_sample_test.h"
#include "baltoro/text/schema_check_test.h"

namespace baltoro::text {
namespace {

using json::Array;
using json::Object;
using json::Value;

// Written so that POSIX reads them as ECMA does; and texts that match.
struct Pattern {
  const char* pattern;
  std::array<const char*, 3> texts;
};
constexpr Pattern kPatterns[] = {{"^[a-z]+(-[0-9]{2})?$", {"a", "abc-12", "zz"}},
                                 {"b", {"b", "a\"b\\", "xbb"}},
                                 {"^(ab|cd)*$", {"", "abcd", "cdcd"}},
                                 {"[0-9]$", {"0", "x9", "\n1"}},
                                 {"^a{2,4}[x-z]?$", {"aa", "aaaa", "aaaax"}}};
constexpr const char* kNames[] = {"a", "ab", "abc", "name", "b", "value", "q\"x", "\xC3\xA9", ""};
constexpr const char* kTexts[] = {"",
                                  "a",
                                  "ab",
                                  "abc",
                                  "\xC3\xA9",
                                  "\xF0\x9F\x98\x80x",
                                  "q\"",
                                  "\\\n\x01",
                                  "twelve chars",
                                  "1234",
                                  "\xE4\xB8\xAD\xE4\xB8\xAD"};

// `closed`: nothing in it leaves a member's name open.
class RandomSchema {
 public:
  RandomSchema(std::mt19937& rng, bool closed) : rng_(rng), closed_(closed) {}

  Value document() {
    Value schema = any_of(3);
    Object definitions;
    nesting_ = 0;
    for (const char* name : {"x", "y"}) definitions.emplace_back(name, any_of(2));
    if (schema.find("$ref") != nullptr) schema = Object{{"anyOf", Array{schema, null()}}};
    schema.set("$defs", std::move(definitions));
    return schema;
  }

 private:
  int below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(rng_); }
  static Value null() { return Object{{"type", "null"}}; }

  Value any_of(int depth) {
    switch (below(depth > 0 ? 14 : 8)) {
      case 0:
        return string();
      case 1:
        return number();
      case 2:
        return values();
      case 3:
        return Object{{"type", "boolean"}};
      case 4:
        return Object{{"type", "string"}, {"pattern", kPatterns[below(std::size(kPatterns))].pattern}};
      case 5:
        return Object{{"type", Array{"integer", "null", "string"}}};
      case 6:
        return closed_ ? null() : Value(Object{});
      case 7:
        return string();
      case 8:
      case 9:
        return nested([&] { return array(depth); });
      case 10:
        return options(depth);
      case 11:
        if (nesting_ == 0) return string();  // a definition that is nothing but itself says nothing
        return Object{{"$ref", below(2) == 0 ? "#/$defs/x" : "#/$defs/y"}};
      default:
        return nested([&] { return object(depth); });
    }
  }
  template <typename Make>
  Value nested(const Make& make) {
    ++nesting_;
    Value schema = make();
    --nesting_;
    return schema;
  }

  Value string() {
    Value schema = Object{{"type", "string"}};
    const int least = below(4);
    if (below(3) == 0) schema.set("minLength", least);
    if (below(3) == 0) schema.set("maxLength", least + below(8));
    return schema;
  }

  Value number() {
    static constexpr double kBounds[] = {-1000, -12.5, -1, -0.001, 0, 0.5, 1, 7, 12, 999.75, 123456};
    const bool integer = below(2) == 0;
    Value schema = Object{{"type", integer ? "integer" : "number"}};
    const int low = below(static_cast<int>(std::size(kBounds)) - 1);
    const int high = low + 1 + below(static_cast<int>(std::size(kBounds)) - 1 - low);
    if (below(2) == 0) schema.set(below(2) == 0 ? "minimum" : "exclusiveMinimum", kBounds[low]);
    if (below(2) == 0) schema.set(below(2) == 0 ? "maximum" : "exclusiveMaximum", kBounds[high]);
    return schema;
  }

  Value values() {
    Array list;
    for (int i = below(4); i >= 0; --i) {
      const Value all[] = {"a", "abc", 1, 12, 1.5, Value(), true, Object{{"a", Array{1}}}, "\xC3\xA9\n", -7};
      const Value& one = all[below(static_cast<int>(std::size(all)))];
      if (std::find(list.begin(), list.end(), one) == list.end()) list.push_back(one);
    }
    if (list.size() == 1) return Object{{"const", list[0]}};
    return Object{{"enum", std::move(list)}};
  }

  Value array(int depth) {
    Value schema = Object{{"type", "array"}};
    if (below(3) == 0) schema.set("prefixItems", Array{any_of(depth - 1), any_of(depth - 1)});
    if (below(4) == 0) {
      schema.set("items", schema.find("prefixItems") != nullptr ? Value(false) : any_of(depth - 1));
    } else if (closed_ || below(4) > 0) {
      schema.set("items", any_of(depth - 1));
    }
    const int least = below(3);
    if (below(3) == 0) schema.set("minItems", least);
    if (below(3) == 0) schema.set("maxItems", least + below(3));
    return schema;
  }

  Value options(int depth) {
    Array list;
    for (int i = 1 + below(3); i >= 0; --i) list.push_back(any_of(depth - 1));
    return Object{{"anyOf", std::move(list)}};
  }

  Value object(int depth) {
    Object properties;
    Array required;
    const bool additional = !closed_ && below(2) == 0;
    for (const char* name : kNames) {
      if (below(3) > 0) continue;
      if (!closed_ && std::string_view(name).find('"') != std::string_view::npos) continue;  // no escapes there
      if (below(8) > 0) properties.emplace_back(name, any_of(depth - 1));
      if ((!properties.empty() && properties.back().first == name && below(2) == 0) || (additional && below(12) == 0))
        required.push_back(name);
    }
    Value schema = Object{{"type", "object"}, {"properties", std::move(properties)}, {"required", std::move(required)}};
    if (closed_ || !additional) {
      schema.set("additionalProperties", false);
    } else if (below(2) == 0) {
      schema.set("additionalProperties", any_of(depth - 1));
    }
    return schema;
  }

  std::mt19937& rng_;
  bool closed_;
  int nesting_ = 1;  // values around, the document counted as one
};

bool patterns_match(const Value& document, const Value& schema, const Value& value);

// The plain validator, and patterns by the C library. Of patterns it sees those that a value meets on its way.
bool valid(const Value& document, const Value& value) {
  return satisfies(document, document, value) && patterns_match(document, document, value);
}

bool matches(const std::string& pattern, std::string text) {
  std::replace(text.begin(), text.end(), '\0', '\1');  // no pattern tells them apart, and C's texts end there
  regex_t compiled;
  if (regcomp(&compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB) != 0) std::abort();
  const bool found = regexec(&compiled, text.c_str(), 0, nullptr, 0) == 0;
  regfree(&compiled);
  return found;
}

bool patterns_match(const Value& document, const Value& schema, const Value& value) {
  if (!schema.is_object()) return true;
  const auto under = [&](const Value& part, const Value& child) { return patterns_match(document, part, child); };
  if (const Value* reference = schema.find("$ref"); reference != nullptr)
    return under(*resolve_reference(document, reference->as_string()), value);
  if (const Value* pattern = schema.find("pattern"); pattern != nullptr && value.is_string())
    return matches(pattern->as_string(), value.as_string());
  if (const Value* options = schema.find("anyOf"); options != nullptr)
    return std::any_of(options->as_array().begin(), options->as_array().end(),
                       [&](const Value& option) { return satisfies(document, option, value) && under(option, value); });
  if (value.is_array()) {
    const Value* first = schema.find("prefixItems");
    const Value* rest = schema.find("items");
    for (std::size_t i = 0; i < value.as_array().size(); ++i) {
      const bool in_first = first != nullptr && i < first->as_array().size();
      const Value* part = in_first ? &first->as_array()[i] : rest;
      if (part != nullptr && !under(*part, value.as_array()[i])) return false;
    }
  }
  if (value.is_object()) {
    for (const auto& [name, member] : value.as_object()) {
      const Value* part = schema.find("properties") == nullptr ? nullptr : schema.find("properties")->find(name);
      if (part == nullptr) part = schema.find("additionalProperties");
      if (part != nullptr && !under(*part, member)) return false;
    }
  }
  return true;
}

// Makes a value of a schema by its words alone; what it makes may still be invalid.
class RandomValue {
 public:
  RandomValue(std::mt19937& rng, const Value& document) : rng_(rng), document_(document) {}

  Value of(const Value& schema, int depth) {
    if (!schema.is_object() || schema.as_object().empty() || depth > 12) return anything();
    if (const Value* reference = schema.find("$ref"); reference != nullptr)
      return of(*resolve_reference(document_, reference->as_string()), depth + 1);
    if (const Value* options = schema.find("anyOf"); options != nullptr)
      return of(pick(options->as_array()), depth + 1);
    if (const Value* values = schema.find("enum"); values != nullptr) return pick(values->as_array());
    if (const Value* value = schema.find("const"); value != nullptr) return *value;
    const Value* type = schema.find("type");
    if (type == nullptr) return anything();
    const std::string& name = type->is_array() ? pick(type->as_array()).as_string() : type->as_string();
    if (name == "object") return object(schema, depth);
    if (name == "array") return array(schema, depth);
    if (name == "string") return string(schema);
    if (name == "boolean") return below(2) == 0;
    if (name == "null") return {};
    return number(name == "integer");
  }

 private:
  int below(int n) { return std::uniform_int_distribution<int>(0, n - 1)(rng_); }
  const Value& pick(const Array& list) { return list[static_cast<std::size_t>(below(static_cast<int>(list.size())))]; }

  Value anything() {
    const Value all[] = {1,   "x\"y", true, Value(), -0.25, Array{1, "a", Array{}}, Object{{"k", Object{{"l", 2}}}},
                         1e20};
    return all[below(static_cast<int>(std::size(all)))];
  }
  Value string(const Value& schema) {
    if (const Value* pattern = schema.find("pattern"); pattern != nullptr)
      for (const Pattern& known : kPatterns)
        if (pattern->as_string() == known.pattern) return known.texts[static_cast<std::size_t>(below(3))];
    return kTexts[below(static_cast<int>(std::size(kTexts)))];
  }
  Value number(bool integer) {
    const std::int64_t whole = below(2) == 0 ? below(30) - 15 : below(400'000) - 200'000;
    if (integer || below(3) == 0) return whole;
    return static_cast<double>(whole) + static_cast<double>(below(8)) / 8;
  }
  Value array(const Value& schema, int depth) {
    static const Value kAny = Object{};
    const Value* first = schema.find("prefixItems");
    const Value* items = schema.find("items");
    Array list;
    for (std::size_t i = static_cast<std::size_t>(below(4)); list.size() < i;) {
      const bool in_first = first != nullptr && list.size() < first->as_array().size();
      const Value& part = in_first ? first->as_array()[list.size()] : items == nullptr ? kAny : *items;
      list.push_back(of(part, depth + 1));
    }
    return list;
  }
  Value object(const Value& schema, int depth) {
    Object members;
    for (const auto& [name, part] : schema.find("properties")->as_object()) {
      const Array& required = schema.find("required")->as_array();
      if (below(2) == 0 || std::find(required.begin(), required.end(), Value(name)) != required.end())
        members.emplace_back(name, of(part, depth + 1));
    }
    const Value* additional = schema.find("additionalProperties");
    const Value any = Object{};
    if (additional == nullptr || *additional != Value(false))
      for (const char* name : {"other", "abcd", "z"})
        if (below(3) == 0) members.emplace_back(name, of(additional == nullptr ? any : *additional, depth + 1));
    std::shuffle(members.begin(), members.end(), rng_);
    return members;
  }

  std::mt19937& rng_;
  const Value& document_;
};

constexpr std::int64_t kMostTriedTokens = 1000;  // vocabularies whose tokens are tried one by one

struct Counts {
  int schemas = 0, texts = 0, values = 0, masks = 0;
};

bool has(const std::vector<std::uint64_t>& allowed, TokenId id) {
  return (allowed[static_cast<std::size_t>(id) / 64] >> (id % 64) & 1) != 0;
}

// Each token by itself. `exact`: else the mask may leave out tokens.
void expect_mask_agrees(const GrammarVocabulary& vocabulary, const GrammarMatcher& matcher, std::int64_t budget,
                        bool exact, const std::string& where) {
  GrammarMatcher filled = matcher;
  const auto allowed = mask_of(vocabulary, filled, budget);
  for (TokenId id = 0; id < vocabulary.trie.vocab_size(); ++id) {
    if (vocabulary.tokenizer->is_special(id)) continue;
    const bool in_mask = has(allowed, id);
    if (!in_mask && !exact) continue;
    GrammarMatcher next = matcher;
    const std::string bytes(vocabulary.tokenizer->token_bytes(id));
    const bool good = next.accept(bytes) && next.cost() <= budget;
    ASSERT_EQ(in_mask, good) << "token " << bytes << " with " << budget << " left behind " << where;
  }
}

// Whether the value's text can be written byte by byte, masks included.
void expect_writes(GrammarVocabulary& vocabulary, GrammarMatcher matcher, const std::string& text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto allowed = mask_of(vocabulary, matcher, 1 << 20);
    bool open = false;
    vocabulary.trie.for_prefixes({&text[i], 1}, [&](std::size_t, TokenId token) { open = has(allowed, token); });
    ASSERT_TRUE(open) << text << " at byte " << i;
    ASSERT_TRUE(matcher.accept({&text[i], 1})) << text << " at byte " << i;
  }
  ASSERT_TRUE(matcher.can_end()) << text;
}

void try_schema(const std::shared_ptr<GrammarVocabulary>& vocabulary, std::mt19937& rng, bool closed, Counts& counts) {
  const Value document = RandomSchema(rng, closed).document();
  SCOPED_TRACE(json::dump(document));
  const auto graph = compile_schema(document, SchemaMode::kLoose, false, vocabulary->trie);
  ASSERT_TRUE(graph.ok());
  if (!(*graph)->loosened.empty()) return;  // no value, or bounds that leave nothing
  ++counts.schemas;
  const GrammarMatcher matcher(vocabulary, *graph);
  for (std::int64_t i = 0; i < 6; ++i) {
    const std::int64_t budget = matcher.cost() + (i % 2 == 0 ? i : 20 * i);
    const std::string text = sample(*vocabulary, matcher, rng, budget, 0.2,
                                    [&](const std::string& before, const auto& at, std::int64_t left) {
                                      if (vocabulary->trie.vocab_size() > kMostTriedTokens || rng() % 16 != 0) return;
                                      ++counts.masks;
                                      expect_mask_agrees(*vocabulary, at, left, closed, before);
                                    });
    const auto value = json::parse(text);
    ASSERT_TRUE(value.ok()) << text;
    ASSERT_TRUE(valid(document, *value)) << text;
    ++counts.texts;
  }
  for (int i = 0; i < 12; ++i) {
    const Value value = RandomValue(rng, document).of(document, 0);
    if (!valid(document, value)) continue;
    expect_writes(*vocabulary, matcher, json::dump(value));
    ++counts.values;
  }
}

void try_schemas(const std::shared_ptr<GrammarVocabulary>& vocabulary, std::uint32_t seed, int schemas) {
  Counts counts;
  for (int i = 0; i < schemas && !testing::Test::HasFailure(); ++i) {
    std::mt19937 rng(seed + static_cast<std::uint32_t>(i));
    SCOPED_TRACE(seed + static_cast<std::uint32_t>(i));
    try_schema(vocabulary, rng, i % 2 == 0, counts);
  }
  std::cout << counts.schemas << " schemas, " << counts.texts << " texts, " << counts.values << " values, "
            << counts.masks << " masks token by token\n";
  EXPECT_GT(counts.texts, schemas);
  EXPECT_GT(counts.values, schemas);
  if (vocabulary->trie.vocab_size() <= kMostTriedTokens) {
    EXPECT_GT(counts.masks, schemas);
  }
}

TEST(RandomSchemas, TextsAreValidValuesAreWrittenMasksAreExact) {
  try_schemas(*make_grammar_vocabulary(std::make_shared<SmallTokenizer>()), 1, 4000);
}

TEST(RandomSchemas, WithTheRealVocabulary) {
  const std::string dir = std::string(BALTORO_SHARED_DIR) + "/tokenizer/kimi";
  if (!is_directory(dir)) GTEST_SKIP() << "needs " << dir;
  auto tokenizer = load_tokenizer(dir);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  try_schemas(*make_grammar_vocabulary(*tokenizer), 100001, 150);
}

}  // namespace
}  // namespace baltoro::text
