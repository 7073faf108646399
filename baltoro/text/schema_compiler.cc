// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "baltoro/base/utf8.h"
#include "baltoro/text/number_dfa.h"
#include "baltoro/text/pattern_dfa.h"
#include "baltoro/text/schema_costs.h"
#include "baltoro/text/schema_graph.h"
#include "baltoro/text/schema_merge.h"
#include "baltoro/text/schema_strict.h"
#include "baltoro/text/string_formats.h"

namespace baltoro::text {
namespace {

using json::Array;
using json::Object;
using json::Value;
using Kind = SchemaNode::Kind;

constexpr std::size_t kMaxNesting = 64;            // of schemas while compiling
constexpr std::size_t kMaxWorkBytes = 32'000'000;  // of schema text handled, merged copies included
constexpr std::size_t kMaxDfaBytes = 8'000'000;
constexpr std::size_t kMaxCostedLiterals = 200'000;  // bytes of enum texts

std::string_view kTypes[] = {"object", "array", "string", "number", "integer", "boolean", "null"};

// A count such as minLength: 1, or 1.0 as some write it.
std::optional<std::uint32_t> count_of(const Value& schema, std::string_view key) {
  const Value* value = schema.find(key);
  if (value == nullptr || !value->is_number() || value->as_double() < 0) return std::nullopt;
  return static_cast<std::uint32_t>(std::min(value->as_double(), 4e9));
}

std::size_t code_points(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool has_type(const Value& value, std::string_view type) {
  if (type == "integer")
    return value.is_integer() ||
           (value.is_number() && value.as_double() == static_cast<double>(static_cast<std::int64_t>(
                                                          std::clamp(value.as_double(), -9e18, 9e18))));
  if (type == "number") return value.is_number();
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_bool();
  if (type == "null") return value.is_null();
  return type == "object" ? value.is_object() : type == "array" && value.is_array();
}

// The type that an untyped schema's keywords speak of.
std::string_view implied_type(const Value& schema) {
  const auto has = [&](std::initializer_list<std::string_view> keys) {
    return std::any_of(keys.begin(), keys.end(), [&](std::string_view key) { return schema.find(key) != nullptr; });
  };
  if (has({"properties", "required", "additionalProperties", "patternProperties", "propertyNames"})) return "object";
  if (has({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"})) return "array";
  if (has({"pattern", "minLength", "maxLength", "format"})) return "string";
  if (has({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})) return "number";
  return {};
}

class Compiler {
 public:
  Compiler(const Value& document, SchemaMode mode, const TokenTrie& trie)
      : document_(document), strict_(mode == SchemaMode::kStrict), trie_(trie) {
    add_any();
  }

  Result<SchemaGraph> compile(bool root_object) {
    BALTORO_TRY(graph_.root, node_of(document_, "#", 0));
    settle_costs(graph_);
    if (graph_.nodes[graph_.root].cost >= kNeverEnds) {
      if (strict_)
        return wrong("#", "a schema that some finite value satisfies needed: infinite recursion or contradiction");
      BALTORO_TRY_STATUS(loosen("#", "no finite value satisfies it"));
      graph_.root = root_object ? any_object_ : any_;
    } else if (root_object && graph_.root == any_) {
      graph_.root = any_object_;
    }
    return std::move(graph_);
  }

 private:
  Error wrong(std::string_view path, std::string_view what) const {
    return {Errc::kInvalidArgument, fmt::format("[schema] {}: {}", path, what)};
  }
  // Strict: an error. Else a note, and the caller goes on without the keyword.
  Status loosen(const std::string& path, std::string_view what) {
    if (strict_) return wrong(path, fmt::format("{} cannot be enforced", what));
    if (graph_.loosened.size() < 64) graph_.loosened.push_back(fmt::format("{}: {}", path, what));
    return {};
  }

  NodeId add(SchemaNode node) {
    graph_.nodes.push_back(std::move(node));
    return static_cast<NodeId>(graph_.nodes.size() - 1);
  }
  NodeId regular(std::uint32_t dfa) { return add({.kind = Kind::kRegular, .dfa = dfa}); }
  NodeId nothing() { return add({.kind = Kind::kChoice}); }

  void add_any() {
    any_ = add({.kind = Kind::kChoice});
    const NodeId string = add({.kind = Kind::kString});
    const NodeId number = regular(graph_.dfas.add(number_draft({})));
    const NodeId word = regular(graph_.dfas.add_literals({"true", "false", "null"}, trie_));
    any_object_ = add({.kind = Kind::kObject});
    graph_.nodes[any_object_].object = std::make_unique<ObjectRules>();
    graph_.nodes[any_object_].object->additional = any_;
    graph_.nodes[any_object_].object->names.emplace_back();
    const NodeId array = add({.kind = Kind::kArray, .items = any_});
    graph_.nodes[any_].children = {string, number, word, any_object_, array};
  }

  // The node of a schema: the same for the same text, which is what makes recursion finite.
  Result<NodeId> node_of(const Value& schema, const std::string& path, std::size_t depth) {
    if (schema.is_bool()) return schema.as_bool() ? any_ : nothing();
    if (!schema.is_object()) {
      BALTORO_TRY_STATUS(loosen(path, "what is no schema"));
      return any_;
    }
    std::string key = json::dump(schema);
    work_ += key.size();
    if (work_ > kMaxWorkBytes || graph_.nodes.size() > kMaxSchemaNodes || graph_.dfas.bytes() > kMaxDfaBytes ||
        depth > kMaxNesting) {
      BALTORO_TRY_STATUS(loosen(path, "a schema this large or deep"));
      return any_;
    }
    if (const auto known = known_.find(key); known != known_.end()) return known->second;
    const NodeId id = add({.kind = Kind::kChoice});
    known_.emplace(std::move(key), id);
    BALTORO_TRY(const NodeId made, made_from(schema, path, depth));
    graph_.nodes[id].children = {made};  // settle_costs() flattens choices of choices
    return id;
  }

  // References and allOf are merged away first.
  Result<NodeId> made_from(const Value& given, const std::string& path, std::size_t depth) {
    const Value* reference = given.find("$ref");
    if (reference != nullptr) {
      const Value* target = reference->is_string() ? resolve_reference(document_, reference->as_string()) : nullptr;
      if (target == nullptr || !(target->is_object() || target->is_bool())) {
        BALTORO_TRY_STATUS(loosen(path, "a $ref that leads to no schema of this document"));
        return any_;
      }
      Value siblings = constraints_of(given);
      std::erase_if(siblings.as_object(), [](const json::Member& member) { return member.first == "$ref"; });
      if (siblings.as_object().empty()) return node_of(*target, path, depth + 1);
      return node_of(Object{{"allOf", Array{*target, std::move(siblings)}}}, path, depth + 1);
    }
    if (const Value* all = given.find("allOf"); all != nullptr && all->is_array())
      return conjunction(given, *all, path, depth);
    for (const char* key : {"anyOf", "oneOf"})
      if (const Value* options = given.find(key); options != nullptr && options->is_array())
        return options_of(given, key, options->as_array(), path, depth);
    return simple(given, path, depth);
  }

  Result<NodeId> conjunction(const Value& given, const Value& all, const std::string& path, std::size_t depth) {
    bool exact = true;
    Value merged = constraints_of(given);
    std::erase_if(merged.as_object(), [](const json::Member& member) { return member.first == "allOf"; });
    for (const Value& part : all.as_array()) {
      const Value* at = &part;
      Value rest = Object{};
      for (int i = 0; at->is_object() && at->find("$ref") != nullptr; ++i) {
        const Value* target =
            at->find("$ref")->is_string() ? resolve_reference(document_, at->find("$ref")->as_string()) : nullptr;
        if (target == nullptr || i == 64) {
          BALTORO_TRY_STATUS(loosen(path, "a $ref that leads to no schema of this document"));
          break;
        }
        for (const auto& [key, value] : at->as_object())
          if (key != "$ref" && !is_annotation(key)) rest = merge_schemas(std::move(rest), Object{{key, value}}, exact);
        at = target;
      }
      Value plain = at->is_object() ? constraints_of(*at) : *at;
      if (plain.is_object())
        std::erase_if(plain.as_object(), [](const json::Member& member) { return member.first == "$ref"; });
      merged = merge_schemas(std::move(merged), plain, exact);
      merged = merge_schemas(std::move(merged), rest, exact);
    }
    if (!exact) BALTORO_TRY_STATUS(loosen(path, "allOf whose parts do not merge"));
    return node_of(merged, path, depth + 1);
  }

  Result<NodeId> options_of(const Value& given, const std::string& key, const Array& options, const std::string& path,
                            std::size_t depth) {
    if (options.size() > kMaxOptions) {
      BALTORO_TRY_STATUS(loosen(path, fmt::format("{} of over {} schemas", key, kMaxOptions)));
      return any_;
    }
    if (key == "oneOf") BALTORO_TRY_STATUS(check_exclusive(options, path));
    Value beside = constraints_of(given);
    std::erase_if(beside.as_object(), [&](const json::Member& member) { return member.first == key; });
    std::vector<NodeId> nodes;
    for (std::size_t i = 0; i < options.size(); ++i) {
      const std::string at = fmt::format("{}/{}/{}", path, key, i);
      const bool alone = beside.as_object().empty();
      BALTORO_TRY(const NodeId node,
                  node_of(alone ? options[i] : Value(Object{{"allOf", Array{beside, options[i]}}}), at, depth + 1));
      if (std::find(nodes.begin(), nodes.end(), node) == nodes.end()) nodes.push_back(node);
    }
    return add({.kind = Kind::kChoice, .children = std::move(nodes)});
  }

  // oneOf is decoded as anyOf, which is the same where no value fits two branches.
  Status check_exclusive(const Array& options, const std::string& path) {
    if (options.size() > 64) return loosen(path, "oneOf of over 64 schemas");
    for (std::size_t i = 0; i < options.size(); ++i)
      for (std::size_t j = i + 1; j < options.size(); ++j)
        if (!exclude_each_other(document_, options[i], options[j]))
          return loosen(path, fmt::format("oneOf whose branches {} and {} may both fit (use anyOf)", i, j));
    return {};
  }

  Result<NodeId> simple(const Value& schema, const std::string& path, std::size_t depth) {
    for (const char* key : {"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies",
                            "unevaluatedProperties", "unevaluatedItems", "contains", "$dynamicRef"})
      if (schema.find(key) != nullptr) BALTORO_TRY_STATUS(loosen(path, key));
    std::vector<std::string> types;
    if (const Value* type = schema.find("type"); type != nullptr) {
      for (const Value& one : type->is_array() ? type->as_array() : Array{*type})
        if (one.is_string() && std::find(std::begin(kTypes), std::end(kTypes), one.as_string()) != std::end(kTypes))
          types.push_back(one.as_string());
      if (types.empty() && type->is_array() && type->as_array().empty()) return nothing();  // what merging left
      if (types.empty()) BALTORO_TRY_STATUS(loosen(path, "an unknown type"));
    }
    if (schema.find("enum") != nullptr || schema.find("const") != nullptr) return values_of(schema, types, path);
    if (types.empty())
      if (const std::string_view type = implied_type(schema); !type.empty()) types.emplace_back(type);
    if (types.empty()) return any_;
    std::vector<NodeId> nodes;
    for (const std::string& type : types) {
      BALTORO_TRY(const NodeId node, typed(schema, type, path, depth));
      nodes.push_back(node);
    }
    if (nodes.size() == 1) return nodes[0];
    return add({.kind = Kind::kChoice, .children = std::move(nodes)});
  }

  Result<NodeId> typed(const Value& schema, std::string_view type, const std::string& path, std::size_t depth) {
    if (type == "object") return object(schema, path, depth);
    if (type == "array") return array(schema, path, depth);
    if (type == "string") return string(schema, path);
    if (type == "boolean") return literals({"false", "true"});
    if (type == "null") return literals({"null"});
    return number(schema, type == "integer", path);
  }

  Result<NodeId> literals(const std::vector<std::string>& texts) {
    std::string key;
    for (const std::string& text : texts) key += text + "\n";
    const auto [found, added] = literals_.try_emplace(key, 0);
    if (added) found->second = regular(graph_.dfas.add_literals(texts, trie_));
    return found->second;
  }

  // enum and const: those values that fit the other keywords.
  Result<NodeId> values_of(const Value& schema, const std::vector<std::string>& types, const std::string& path) {
    Array values;
    if (const Value* list = schema.find("enum"); list != nullptr) {
      if (!list->is_array()) {
        BALTORO_TRY_STATUS(loosen(path, "an enum that is no array"));
        return any_;
      }
      values = list->as_array();
    }
    if (const Value* one = schema.find("const"); one != nullptr) {
      const bool fits = schema.find("enum") == nullptr || std::find(values.begin(), values.end(), *one) != values.end();
      values = fits ? Array{*one} : Array{};
    }
    std::vector<std::string> texts;
    std::size_t bytes = 0;
    for (const Value& value : values) {
      if (!fits(value, schema, types)) continue;
      texts.push_back(json::dump(value));
      bytes += texts.back().size();
    }
    if (values.size() > kMaxEnumValues || bytes > kMaxCostedLiterals) {
      BALTORO_TRY_STATUS(loosen(path, "an enum this large"));
      return any_;
    }
    if (texts.empty()) return nothing();
    return literals(texts);
  }

  bool fits(const Value& value, const Value& schema, const std::vector<std::string>& types) {
    if (!types.empty() &&
        std::none_of(types.begin(), types.end(), [&](const auto& type) { return has_type(value, type); }))
      return false;
    const auto bound = [&](const char* key, auto ok) {
      const Value* limit = schema.find(key);
      return limit == nullptr || !limit->is_number() || ok(limit->as_double());
    };
    if (value.is_number()) {
      const double v = value.as_double();
      return bound("minimum", [&](double b) { return v >= b; }) && bound("maximum", [&](double b) { return v <= b; }) &&
             bound("exclusiveMinimum", [&](double b) { return v > b; }) &&
             bound("exclusiveMaximum", [&](double b) { return v < b; });
    }
    if (value.is_string()) {
      const auto length = static_cast<double>(code_points(value.as_string()));
      if (!bound("minLength", [&](double b) { return length >= b; }) ||
          !bound("maxLength", [&](double b) { return length <= b; }))
        return false;
      const Value* pattern = schema.find("pattern");
      if (pattern == nullptr || !pattern->is_string()) return true;
      const std::uint32_t dfa = pattern_dfa(pattern->as_string(), 0, kNoLimit);
      return dfa == kDeadState || graph_.dfas.matches(dfa, json::dump(value));
    }
    return true;
  }

  // kDeadState: not to be had.
  std::uint32_t pattern_dfa(const std::string& pattern, std::uint32_t least, std::uint32_t most) {
    const std::string key = fmt::format("{}:{}:{}", least, most, pattern);
    if (const auto known = patterns_.find(key); known != patterns_.end()) return known->second;
    std::uint32_t dfa = kDeadState;
    if (const auto tree = parse_pattern(pattern); tree.ok()) {
      auto draft = pattern_draft(*tree, least, most);
      // A shorter maximum is a stricter one: better than none.
      for (const std::uint32_t more : {256U, 32U})
        if (!draft.ok() && most != kNoLimit && most - least > more) draft = pattern_draft(*tree, least, least + more);
      if (draft.ok()) dfa = graph_.dfas.add(*draft);
    }
    patterns_.emplace(key, dfa);
    return dfa;
  }

  Result<NodeId> string(const Value& schema, const std::string& path) {
    const std::uint32_t least = count_of(schema, "minLength").value_or(0);
    const std::uint32_t most = count_of(schema, "maxLength").value_or(kNoLimit);
    if (least > most) return nothing();
    const Value* pattern = schema.find("pattern");
    const Value* format = schema.find("format");
    std::string wanted;
    if (pattern != nullptr && pattern->is_string()) {
      wanted = pattern->as_string();
      if (format != nullptr) BALTORO_TRY_STATUS(loosen(path, "format beside a pattern"));
    } else if (format != nullptr && format->is_string()) {
      wanted = format_pattern(format->as_string());
      if (wanted.empty()) BALTORO_TRY_STATUS(loosen(path, "this format"));
    }
    if (!wanted.empty()) {
      const std::uint32_t dfa = pattern_dfa(wanted, least, most);
      if (dfa != kDeadState) return regular(dfa);
      BALTORO_TRY_STATUS(loosen(path, "this pattern"));
    }
    return add({.kind = Kind::kString, .least = least, .most = most});
  }

  Result<NodeId> number(const Value& schema, bool integer, const std::string& path) {
    NumberBounds bounds{.integer = integer};
    const auto take = [&](const char* key, bool exclusive, std::optional<DecimalBound>& bound, bool low) {
      const Value* value = schema.find(key);
      if (value == nullptr || !value->is_number()) return;
      DecimalBound found = DecimalBound::parse(json::dump(*value), exclusive);
      if (!bound || (low ? less(*bound, found) : less(found, *bound)) ||
          (exclusive && !less(*bound, found) && !less(found, *bound)))
        bound = std::move(found);
    };
    // Draft 4 says "exclusiveMinimum": true.
    const auto flag = [&](const char* key) {
      const Value* value = schema.find(key);
      return value != nullptr && value->is_bool() && value->as_bool();
    };
    take("minimum", flag("exclusiveMinimum"), bounds.low, true);
    take("exclusiveMinimum", true, bounds.low, true);
    take("maximum", flag("exclusiveMaximum"), bounds.high, false);
    take("exclusiveMaximum", true, bounds.high, false);
    if (const Value* step = schema.find("multipleOf"); step != nullptr) {
      if (*step == Value(1) || (step->is_number() && step->as_double() == 1.0)) {
        bounds.integer = true;
      } else {
        BALTORO_TRY_STATUS(loosen(path, "multipleOf"));
      }
    }
    const std::uint32_t dfa = graph_.dfas.add(number_draft(bounds));
    return dfa == kDeadState ? nothing() : regular(dfa);
  }

  Result<NodeId> array(const Value& schema, const std::string& path, std::size_t depth) {
    SchemaNode node{.kind = Kind::kArray, .least = count_of(schema, "minItems").value_or(0)};
    node.most = count_of(schema, "maxItems").value_or(SchemaNode::kNoMost);
    if (const Value* unique = schema.find("uniqueItems"); unique != nullptr && *unique == Value(true) && node.most > 1)
      BALTORO_TRY_STATUS(loosen(path, "uniqueItems"));
    const Value* first = schema.find("prefixItems");
    const Value* rest = schema.find("items");
    if (first == nullptr && rest != nullptr && rest->is_array()) {  // as up to draft 2019
      first = rest;
      rest = schema.find("additionalItems");
    }
    if (first != nullptr && first->is_array()) {
      for (std::size_t i = 0; i < first->as_array().size() && i < kMaxSchemaNodes; ++i) {
        BALTORO_TRY(const NodeId item,
                    node_of(first->as_array()[i], fmt::format("{}/prefixItems/{}", path, i), depth + 1));
        node.children.push_back(item);
      }
    }
    node.items = any_;
    if (rest != nullptr && *rest == Value(false)) {
      node.items = kNoNode;
    } else if (rest != nullptr) {
      BALTORO_TRY(node.items, node_of(*rest, path + "/items", depth + 1));
    }
    if (node.items == kNoNode) node.most = std::min(node.most, static_cast<std::uint32_t>(node.children.size()));
    if (node.least > node.most) return nothing();
    return add(std::move(node));
  }

  Result<NodeId> object(const Value& schema, const std::string& path, std::size_t depth) {
    auto rules = std::make_unique<ObjectRules>();
    if (schema.find("patternProperties") != nullptr) BALTORO_TRY_STATUS(loosen(path, "patternProperties"));
    if (const Value* names = schema.find("propertyNames");
        names != nullptr && *names != Value(Object{{"type", "string"}}))
      BALTORO_TRY_STATUS(loosen(path, "propertyNames"));
    if (count_of(schema, "minProperties").value_or(0) > 0) BALTORO_TRY_STATUS(loosen(path, "minProperties"));
    if (schema.find("maxProperties") != nullptr) BALTORO_TRY_STATUS(loosen(path, "maxProperties"));
    const Value* additional = schema.find("additionalProperties");
    rules->additional = any_;
    // What patternProperties name must stay possible where the others are forbidden.
    if (additional != nullptr && *additional == Value(false)) {
      rules->additional = schema.find("patternProperties") != nullptr ? any_ : kNoNode;
    } else if (additional != nullptr) {
      BALTORO_TRY(rules->additional, node_of(*additional, path + "/additionalProperties", depth + 1));
    }
    const Value* properties = schema.find("properties");
    if (properties != nullptr && properties->is_object()) {
      for (const auto& [name, value] : properties->as_object()) {
        if (rules->properties.size() == kMaxProperties) {
          BALTORO_TRY_STATUS(loosen(path, "an object of this many properties"));
          return any_object_;
        }
        BALTORO_TRY(const NodeId node, node_of(value, fmt::format("{}/properties/{}", path, name), depth + 1));
        add_property(*rules, name, node);
      }
    }
    if (const Value* required = schema.find("required"); required != nullptr && required->is_array()) {
      std::map<std::string_view, std::size_t> places;
      std::vector<std::string> names;
      if (properties != nullptr && properties->is_object())
        for (std::size_t i = 0; i < properties->as_object().size(); ++i) places[properties->as_object()[i].first] = i;
      for (const Value& name : required->as_array()) {
        if (!name.is_string()) continue;
        const auto [found, added] = places.try_emplace(name.as_string(), rules->properties.size());
        if (added) {
          if (rules->additional == kNoNode) return nothing();
          if (rules->properties.size() == kMaxProperties) break;
          add_property(*rules, name.as_string(), rules->additional);
        }
        rules->properties[found->second].required = true;
      }
    }
    index_names(*rules);
    SchemaNode node{.kind = Kind::kObject};
    node.object = std::move(rules);
    return add(std::move(node));
  }

  void add_property(ObjectRules& rules, const std::string& name, NodeId value) {
    PropertyRule rule{.value = value};
    json::append_quoted(rule.quoted, name);
    rule.quoted += ':';
    rule.tokens_left = trie_.fewest_tokens(rule.quoted);
    rules.properties.push_back(std::move(rule));
  }

  const Value& document_;
  bool strict_;
  const TokenTrie& trie_;
  SchemaGraph graph_;
  NodeId any_ = 0, any_object_ = 0;
  std::unordered_map<std::string, NodeId> known_;
  std::map<std::string, NodeId> literals_;
  std::map<std::string, std::uint32_t> patterns_;
  std::size_t work_ = 0;
};

}  // namespace

Result<std::shared_ptr<const SchemaGraph>> compile_schema(const Value& schema, SchemaMode mode, bool root_object,
                                                          const TokenTrie& trie) {
  if (mode == SchemaMode::kStrict) BALTORO_TRY_STATUS(check_strict_schema(schema));
  BALTORO_TRY(SchemaGraph graph, Compiler(schema, mode, trie).compile(root_object));
  static std::atomic<std::uint64_t> next_id{1};
  graph.id = next_id.fetch_add(1);
  return std::shared_ptr<const SchemaGraph>(std::make_shared<SchemaGraph>(std::move(graph)));
}

std::size_t SchemaGraph::bytes() const {
  std::size_t sum = sizeof *this + dfas.bytes() + nodes.size() * sizeof(SchemaNode);
  for (const SchemaNode& node : nodes) {
    sum += node.children.size() * sizeof(NodeId);
    if (node.object == nullptr) continue;
    sum += node.object->names.size() * sizeof(NameNode);
    for (const PropertyRule& rule : node.object->properties) sum += sizeof rule + 3 * rule.quoted.size();
  }
  return sum;
}

}  // namespace baltoro::text
