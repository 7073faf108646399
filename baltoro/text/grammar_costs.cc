// SPDX-License-Identifier: Apache-2.0
// What each place of a value still costs at most, in tokens.
#include <algorithm>

#include "baltoro/text/grammar_states.h"
#include "baltoro/text/json_string_states.h"
#include "baltoro/text/schema_costs.h"

namespace baltoro::text {
namespace {

using Kind = Frame::Kind;
using Phase = Frame::Phase;

}  // namespace

bool GrammarStates::complete(FrameId id) const {
  if (id == kFloor) return true;
  const Frame& frame = frames_[id];
  return frame.kind == Kind::kRegular && frame.parent == kFloor && graph_->dfas.accepts(frame.state);
}

std::uint32_t GrammarStates::total(const Frame& frame) const {
  const SchemaNode& node = graph_->nodes[frame.node];
  switch (frame.kind) {
    case Kind::kDone:
      return 0;
    case Kind::kChoice:
      return add_costs(frame.below, node.cost);
    case Kind::kRegular:
      return add_costs(frame.below, graph_->dfas.cost(frame.state));
    case Kind::kString: {
      if (frame.phase == Phase::kBefore) return add_costs(frame.below, node.cost);
      const std::uint32_t partial = bytes_to_whole(static_cast<StringState>(frame.state));
      const std::uint32_t have = frame.count + (partial > 0 ? 1 : 0);
      return add_costs(frame.below, partial + 1 + std::min(node.least > have ? node.least - have : 0, kNeverEnds));
    }
    case Kind::kArray:
      return add_costs(frame.below, array_cost(frame));
    case Kind::kObject:
      return add_costs(frame.below, object_cost(frame));
    case Kind::kName:
      return name_cost(frame);
  }
  return kNeverEnds;
}

std::uint32_t GrammarStates::array_cost(const Frame& frame) const {
  const SchemaNode& node = graph_->nodes[frame.node];
  if (frame.phase == Phase::kBefore) return node.cost;
  const std::uint32_t items = items_left_cost(*graph_, node, frame.count);
  return frame.phase == Phase::kFirst && items > 0 ? items : add_costs(items, 1);
}

// What follows a member: the required ones that are missing, the brace, what lies below.
std::uint32_t GrammarStates::rest_cost(const Frame& object, const PropertyRule* taken) const {
  std::uint32_t missing = object.phase == Phase::kBefore ? 0 : object.count;
  if (taken != nullptr && taken->required) missing -= property_cost(*graph_, *taken);
  return add_costs(object.below, missing + 1);
}

std::uint32_t GrammarStates::object_cost(const Frame& frame) const {
  const SchemaNode& node = graph_->nodes[frame.node];
  if (frame.phase == Phase::kBefore) return node.cost;
  if (frame.phase == Phase::kAfter) return frame.count + 1;
  if (frame.count > 0) return frame.count;  // one comma less, a brace
  if (frame.phase == Phase::kFirst) return 1;
  std::uint32_t least = kNeverEnds;
  const ObjectRules& rules = *node.object;
  for (std::uint32_t p = 0; p < rules.properties.size(); ++p)
    if (selectable(frame, p)) least = std::min(least, property_cost(*graph_, rules.properties[p]));
  // Name ("", or two letters to be distinct), quotes, colon, value, brace.
  if (other_possible(frame)) least = std::min(least, add_costs(6, graph_->nodes[rules.additional].cost));
  return least;
}

std::uint32_t GrammarStates::name_cost(const Frame& frame) const {
  const ObjectRules& rules = *graph_->nodes[frame.node].object;
  const Frame& object = frames_[frame.parent];
  if (frame.phase == Phase::kColon) {
    const PropertyRule* rule = frame.state == kOther ? nullptr : &rules.properties[frame.state];
    const NodeId value = rule == nullptr ? rules.additional : rule->value;
    return add_costs(add_costs(1, graph_->nodes[value].cost), rest_cost(object, rule));
  }
  std::uint32_t least = kNeverEnds;
  if (frame.count != kOther) {
    const NameNode& name = rules.names[frame.count];
    for (std::uint32_t i = name.low; i < name.high; ++i) {
      const std::uint32_t p = rules.by_name[i];
      if (!selectable(object, p)) continue;
      const PropertyRule& rule = rules.properties[p];
      const std::uint32_t left = add_costs(rule.tokens_left[name.depth + 1], graph_->nodes[rule.value].cost);
      least = std::min(least, add_costs(left, rest_cost(object, &rule)));
    }
  }
  if (others_allowed(frame) && may_be_other(frame)) {
    const std::uint32_t letters = frame.state == kWhole ? distinct_cost(frame, object)
                                                        : bytes_to_whole(static_cast<StringState>(frame.state)) + 2;
    const std::uint32_t left = add_costs(letters + 2, graph_->nodes[rules.additional].cost);
    least = std::min(least, add_costs(left, rest_cost(object, nullptr)));
  }
  return least;
}

// How many letters make an additional member's name one that is not yet taken.
std::uint32_t GrammarStates::distinct_cost(const Frame& name, const Frame& object) const {
  const ObjectRules& rules = *graph_->nodes[name.node].object;
  const bool declared = name.count != kOther && rules.names[name.count].property >= 0;
  if (!declared && !other_used(object, name.used)) return 0;
  for (std::uint8_t c = 'a'; c <= 'z'; ++c) {
    const std::uint32_t child = name.count == kOther ? 0 : rules.name_child(name.count, c);
    if (child != 0 && rules.names[child].property >= 0) continue;
    if (!other_used(object, hash_on(name.used, c))) return 1;
  }
  return 2;
}

}  // namespace baltoro::text
