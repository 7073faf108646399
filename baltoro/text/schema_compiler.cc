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

#include "baltoro/text/number_dfa.h"
#include "baltoro/text/schema_costs.h"
#include "baltoro/text/schema_graph.h"
#include "baltoro/text/schema_leaves.h"
#include "baltoro/text/schema_merge.h"
#include "baltoro/text/schema_strict.h"

namespace baltoro::text {
namespace {

using json::Array;
using json::Object;
using json::Value;
using Kind = SchemaNode::Kind;

constexpr std::size_t kMaxNesting = 64;            // of schemas while compiling
constexpr std::size_t kMaxWorkBytes = 32'000'000;  // of schema text handled, merged copies included
constexpr std::size_t kMaxDfaBytes = 8'000'000;

std::string_view kTypes[] = {"object", "array", "string", "number", "integer", "boolean", "null"};

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

class Compiler : SchemaLeaves {
 public:
  Compiler(const Value& document, SchemaMode mode, const TokenTrie& trie)
      : SchemaLeaves(mode, trie), document_(document) {
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
    graph_.common_nodes = static_cast<NodeId>(graph_.nodes.size());
    graph_.common_states = static_cast<std::uint32_t>(graph_.dfas.size());
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
  NodeId any_object_ = 0;
  std::unordered_map<std::string, NodeId> known_;
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
