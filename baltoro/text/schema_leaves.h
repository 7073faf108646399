// SPDX-License-Identifier: Apache-2.0
// The nodes of a graph that hold no others: strings, numbers, patterns, constants. Inside text/ only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "baltoro/base/json.h"
#include "baltoro/base/result.h"
#include "baltoro/text/schema_graph.h"

namespace baltoro::text {

// A count such as minLength: 1, or 1.0 as some write it.
std::optional<std::uint32_t> count_of(const json::Value& schema, std::string_view key);

// A graph in the making: what the compiler of whole schemas builds on.
class SchemaLeaves {
 protected:
  SchemaLeaves(SchemaMode mode, const TokenTrie& trie) : strict_(mode == SchemaMode::kStrict), trie_(trie) {}

  Error wrong(std::string_view path, std::string_view what) const;
  // Strict: an error. Else a note, and the caller goes on without the keyword.
  Status loosen(const std::string& path, std::string_view what);

  NodeId add(SchemaNode node);
  NodeId regular(std::uint32_t dfa);
  NodeId nothing();  // no value
  Result<NodeId> literals(const std::vector<std::string>& texts);
  // enum and const: those values that fit the other keywords.
  Result<NodeId> values_of(const json::Value& schema, const std::vector<std::string>& types, const std::string& path);
  Result<NodeId> string(const json::Value& schema, const std::string& path);
  Result<NodeId> number(const json::Value& schema, bool integer, const std::string& path);

  bool strict_;
  const TokenTrie& trie_;
  SchemaGraph graph_;
  NodeId any_ = 0;

 private:
  Result<bool> fits(const json::Value& value, const json::Value& schema, const std::vector<std::string>& types,
                    const std::string& path);
  Result<bool> number_fits(const json::Value& value, const json::Value& schema, const std::string& path);
  Result<bool> string_fits(const json::Value& value, const json::Value& schema, const std::string& path);
  std::uint32_t pattern_dfa(const std::string& pattern, std::uint32_t least, std::uint32_t most);  // or kDeadState

  std::map<std::string, NodeId> literals_;
  std::map<std::string, std::uint32_t> patterns_;
};

}  // namespace baltoro::text
