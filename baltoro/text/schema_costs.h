// SPDX-License-Identifier: Apache-2.0
// What follows from a finished graph. Inside text/ only.
#pragma once

#include "baltoro/text/schema_graph.h"

namespace baltoro::text {

// Fills by_name and names.
void index_names(ObjectRules& rules);

// Computes every node's cost and height (least fixed point), makes choices flat, drops options that never end.
void settle_costs(SchemaGraph& graph);

// The cost of the items that an array still needs when it has `count`, a comma for each.
std::uint32_t items_left_cost(const SchemaGraph& graph, const SchemaNode& array, std::uint32_t count);
// What item number `count` may be, or kNoNode when there may be none.
inline NodeId item_at(const SchemaNode& array, std::uint32_t count) {
  if (count >= array.most) return kNoNode;
  return count < array.children.size() ? array.children[count] : array.items;
}
// A member's name, colon, value and comma.
inline std::uint32_t property_cost(const SchemaGraph& graph, const PropertyRule& rule) {
  return add_costs(rule.tokens_left.front() + 1U, graph.nodes[rule.value].cost);
}

}  // namespace baltoro::text
