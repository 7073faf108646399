// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "baltoro/base/json.h"
#include "baltoro/base/result.h"
#include "baltoro/text/byte_dfa.h"
#include "baltoro/text/token_trie.h"

namespace baltoro::text {

using NodeId = std::uint32_t;
inline constexpr NodeId kNoNode = 0xFFFFFFFF;

// How deep values may nest, those of unbounded schemas too.
inline constexpr std::uint16_t kMaxValueDepth = 100;

// A declared member of an object.
struct PropertyRule {
  std::string quoted = {};  // "name":
  NodeId value = kNoNode;
  bool required = false;
  std::vector<std::uint16_t> tokens_left = {};  // [i]: the fewest tokens that spell quoted[i..)
};

// The declared names as a trie of what stands between the quotes. Node 0 is the root.
struct NameNode {
  std::uint32_t first_child = 0, next_sibling = 0;  // 0: none
  std::uint32_t low = 0, high = 0;                  // by_name[low, high) are the names that go through here
  std::int32_t property = -1;                       // whose name ends here
  std::uint32_t depth = 0;
  std::uint8_t byte = 0;
};

struct ObjectRules {
  std::vector<PropertyRule> properties;  // in declared order
  std::vector<std::uint32_t> by_name;    // indices, ascending by `quoted`
  std::vector<NameNode> names;
  NodeId additional = kNoNode;                // of every other member; kNoNode: there may be none
  std::vector<std::uint32_t> required_after;  // ordered(): [i]: the cost of the required ones from i on
  // Up to 64 properties come in any order, each once; beyond, in declared order.
  bool ordered() const { return properties.size() > 64; }
  // The child of names[at] by that byte, 0 where there is none.
  std::uint32_t name_child(std::uint32_t at, std::uint8_t byte) const {
    std::uint32_t child = names[at].first_child;
    while (child != 0 && names[child].byte != byte) child = names[child].next_sibling;
    return child;
  }
};

// What a value may be. Every node's cost is at most so many tokens for its cheapest value, kNeverEnds where there is
// none; `height` the levels of nesting that value needs.
struct SchemaNode {
  enum class Kind : std::uint8_t { kChoice, kObject, kArray, kString, kRegular } kind = Kind::kChoice;
  std::uint16_t height = 1;
  std::uint32_t cost = kNeverEnds;
  std::bitset<256> first = {};              // bytes that it may begin with
  std::uint32_t dfa = kDeadState;           // kRegular: the start
  std::uint32_t least = 0, most = kNoMost;  // kString: code points; kArray: items
  static constexpr std::uint32_t kNoMost = 0xFFFFFFFF;
  std::vector<NodeId> children = {};         // kChoice: options, none of them a choice; kArray: the first items
  NodeId items = kNoNode;                    // kArray: the further items; kNoNode: there are none
  std::unique_ptr<ObjectRules> object = {};  // kObject
};

// A JSON schema made ready for decoding: a graph of what each value may be, automata for what is regular in them.
// Immutable; any thread.
struct SchemaGraph {
  std::uint64_t id = 0;  // of this graph alone, in this process; not 0
  std::vector<SchemaNode> nodes;
  ByteDfas dfas;
  NodeId root = 0;
  NodeId common_nodes = 0;  // these and the automata's first states are the same in every graph
  std::uint32_t common_states = 0;
  std::vector<std::string> loosened;  // what is not enforced: "#/path: keyword"

  std::size_t bytes() const;
};

enum class SchemaMode : std::uint8_t {
  kLoose,   // what cannot be enforced is loosened to any value of that type: never an error
  kStrict,  // and refused, as is whatever Moonshot's schema language calls an error
};

// What a schema may be at most (strict; loose: what lies beyond is loosened).
inline constexpr std::size_t kMaxSchemaBytes = 120'000;
inline constexpr std::size_t kMaxSchemaDepth = 30;
inline constexpr std::size_t kMaxSchemaNodes = 10'000;
inline constexpr std::size_t kMaxEnumValues = 1'000;
inline constexpr std::size_t kMaxProperties = 3'000;
inline constexpr std::size_t kMaxOptions = 500;

// Compiles a schema (draft 2020-12). Enforced: type, properties, required, additionalProperties, items, prefixItems,
// minItems, maxItems, minLength, maxLength, pattern and format where regular, the bounds of numbers, enum, const,
// anyOf, oneOf (as anyOf; strict demands branches that exclude each other), allOf and siblings of $ref and anyOf by
// merging, $ref within the document, recursion included. `root_object`: loose roots that say nothing else are objects
// (the parameters of a tool). Errors, strict only: kInvalidArgument with the path, "#/properties/a: ...". Any thread;
// bounded by the limits above.
Result<std::shared_ptr<const SchemaGraph>> compile_schema(const json::Value& schema, SchemaMode mode, bool root_object,
                                                          const TokenTrie& trie);

}  // namespace baltoro::text
