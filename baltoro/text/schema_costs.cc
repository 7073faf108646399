// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/schema_costs.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace baltoro::text {
namespace {

using Kind = SchemaNode::Kind;

struct Cheapest {
  std::uint32_t cost = kNeverEnds;
  std::uint32_t height = 1;
};

std::uint32_t times(std::uint64_t n, std::uint32_t cost) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(n * cost, kNeverEnds));
}

Cheapest object_cost(const SchemaGraph& graph, const ObjectRules& rules) {
  Cheapest best{.cost = 2, .height = 1};  // {}
  bool first = true;
  for (const PropertyRule& rule : rules.properties) {
    if (!rule.required) continue;
    best.cost = add_costs(best.cost, property_cost(graph, rule) - (first ? 1 : 0));
    best.height = std::max(best.height, graph.nodes[rule.value].height + 1U);
    first = false;
  }
  return best;
}

Cheapest array_cost(const SchemaGraph& graph, const SchemaNode& node) {
  Cheapest best{.cost = 2, .height = 1};  // []
  if (node.least == 0) return best;
  best.cost = add_costs(1, items_left_cost(graph, node, 0));  // one comma less, two brackets
  for (std::uint32_t i = 0;
       i < std::min<std::uint32_t>(node.least, static_cast<std::uint32_t>(node.children.size()) + 1); ++i)
    best.height = std::max(best.height, graph.nodes[item_at(node, i)].height + 1U);
  return best;
}

Cheapest cheapest(const SchemaGraph& graph, const SchemaNode& node) {
  switch (node.kind) {
    case Kind::kObject:
      return object_cost(graph, *node.object);
    case Kind::kArray:
      return array_cost(graph, node);
    case Kind::kString:
      return {.cost = add_costs(2, std::min(node.least, kNeverEnds)), .height = 1};
    case Kind::kRegular:
      return {.cost = graph.dfas.cost(node.dfa), .height = 1};
    case Kind::kChoice:
      break;
  }
  Cheapest best;
  for (const NodeId child : node.children) {
    const SchemaNode& option = graph.nodes[child];
    if (option.cost < best.cost) best = {.cost = option.cost, .height = option.height};
  }
  return best;
}

// Of a choice: of its options that are no choices.
std::bitset<256> first_bytes(const SchemaGraph& graph, const SchemaNode& node) {
  std::bitset<256> bytes;
  switch (node.kind) {
    case Kind::kObject:
      return bytes.set('{');
    case Kind::kArray:
      return bytes.set('[');
    case Kind::kString:
      return bytes.set('"');
    case Kind::kRegular:
      return graph.dfas.bytes_from(node.dfa);
    case Kind::kChoice:
      break;
  }
  for (const NodeId child : node.children)
    if (graph.nodes[child].kind != Kind::kChoice) bytes |= first_bytes(graph, graph.nodes[child]);
  return bytes;
}

// The options of a choice, those of choices within it included.
void flatten(const SchemaGraph& graph, NodeId choice, std::vector<bool>& seen, std::vector<NodeId>& out) {
  std::vector<NodeId> open = {choice};
  while (!open.empty()) {
    const NodeId id = open.back();
    open.pop_back();
    if (seen[id]) continue;
    seen[id] = true;
    const SchemaNode& node = graph.nodes[id];
    if (node.kind != Kind::kChoice) {
      if (node.cost < kNeverEnds && node.height <= kMaxValueDepth) out.push_back(id);
      continue;
    }
    open.insert(open.end(), node.children.rbegin(), node.children.rend());
  }
}

}  // namespace

std::uint32_t items_left_cost(const SchemaGraph& graph, const SchemaNode& array, std::uint32_t count) {
  std::uint32_t sum = 0;
  const auto first = static_cast<std::uint32_t>(array.children.size());
  for (std::uint32_t i = count; i < std::min(first, array.least); ++i)
    sum = add_costs(sum, add_costs(graph.nodes[array.children[i]].cost, 1));
  if (array.least > std::max(first, count) && array.items != kNoNode)
    sum = add_costs(sum, times(array.least - std::max(first, count), add_costs(graph.nodes[array.items].cost, 1)));
  return sum;
}

void index_names(ObjectRules& rules) {
  rules.by_name.resize(rules.properties.size());
  std::iota(rules.by_name.begin(), rules.by_name.end(), 0U);
  std::sort(rules.by_name.begin(), rules.by_name.end(),
            [&](std::uint32_t a, std::uint32_t b) { return rules.properties[a].quoted < rules.properties[b].quoted; });
  rules.names.assign(1, {.low = 0, .high = static_cast<std::uint32_t>(rules.by_name.size())});
  for (std::uint32_t i = 0; i < rules.by_name.size(); ++i) {
    const std::string& quoted = rules.properties[rules.by_name[i]].quoted;
    std::uint32_t at = 0;
    for (std::size_t k = 1; k + 2 < quoted.size(); ++k) {
      const auto byte = static_cast<std::uint8_t>(quoted[k]);
      std::uint32_t child = rules.name_child(at, byte);
      if (child == 0) {
        child = static_cast<std::uint32_t>(rules.names.size());
        rules.names.push_back({.next_sibling = rules.names[at].first_child,
                               .low = i,
                               .high = i,
                               .depth = rules.names[at].depth + 1,
                               .byte = byte});
        rules.names[at].first_child = child;
      }
      rules.names[child].high = i + 1;
      at = child;
    }
    rules.names[at].property = static_cast<std::int32_t>(rules.by_name[i]);
  }
}

void settle_costs(SchemaGraph& graph) {
  // What a node refers to stands before it or behind it: passes in turns meet either in one go.
  bool changed = true, forwards = false;
  for (; changed; forwards = !forwards) {
    changed = false;
    for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
      SchemaNode& node = graph.nodes[forwards ? i : graph.nodes.size() - 1 - i];
      const Cheapest found = cheapest(graph, node);
      if (found.cost >= node.cost) continue;
      node.cost = found.cost;
      node.height = static_cast<std::uint16_t>(std::min(found.height, 10'000U));
      changed = true;
    }
  }
  std::vector<std::vector<NodeId>> flat(graph.nodes.size());
  for (NodeId id = 0; id < graph.nodes.size(); ++id) {
    if (graph.nodes[id].kind != Kind::kChoice) continue;
    std::vector<bool> seen(graph.nodes.size());
    flatten(graph, id, seen, flat[id]);
  }
  for (NodeId id = 0; id < graph.nodes.size(); ++id) {
    SchemaNode& node = graph.nodes[id];
    if (node.kind == Kind::kChoice) node.children = std::move(flat[id]);
    node.first = first_bytes(graph, node);
    if (node.object == nullptr) continue;
    ObjectRules& rules = *node.object;
    rules.required_after.assign(rules.properties.size() + 1, 0);
    for (std::size_t i = rules.properties.size(); i-- > 0;)
      rules.required_after[i] = add_costs(rules.required_after[i + 1],
                                          rules.properties[i].required ? property_cost(graph, rules.properties[i]) : 0);
  }
}

}  // namespace baltoro::text
