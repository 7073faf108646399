// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/grammar_states.h"

#include <algorithm>

#include "baltoro/text/json_string_states.h"
#include "baltoro/text/schema_costs.h"

namespace baltoro::text {
namespace {

using Kind = Frame::Kind;
using Phase = Frame::Phase;

constexpr std::uint64_t kHashStart = 0xCBF29CE484222325;
std::uint64_t hash_on(std::uint64_t hash, std::uint8_t byte) { return (hash ^ byte) * 0x100000001B3; }

Kind frame_kind(SchemaNode::Kind kind) {
  switch (kind) {
    case SchemaNode::Kind::kObject:
      return Kind::kObject;
    case SchemaNode::Kind::kArray:
      return Kind::kArray;
    case SchemaNode::Kind::kString:
      return Kind::kString;
    case SchemaNode::Kind::kRegular:
    case SchemaNode::Kind::kChoice:
      break;
  }
  return Kind::kRegular;
}

}  // namespace

GrammarStates::GrammarStates(const SchemaGraph& graph) : graph_(graph) {
  frames_.reserve(1024);
  frames_.emplace_back();
  names_.push_back({});
}

FrameId GrammarStates::add(const Frame& frame) {
  const Frame copy = frame;  // it may lie in the arena that grows
  frames_.push_back(copy);
  return static_cast<FrameId>(frames_.size() - 1);
}

void GrammarStates::release(Mark mark) {
  frames_.resize(mark.frames);
  names_.resize(mark.names);
}

void GrammarStates::begin_value(NodeId node, FrameId parent, std::vector<FrameId>& out) {
  const SchemaNode& n = graph_.nodes[node];
  const std::uint16_t depth = frames_[parent].depth;
  const auto begin = [&](NodeId id) {
    if (!fits(id, depth)) return;
    const SchemaNode& option = graph_.nodes[id];
    Frame frame{
        .kind = frame_kind(option.kind), .depth = static_cast<std::uint16_t>(depth + 1), .node = id, .parent = parent};
    frame.below = cost(parent);
    frame.state = option.kind == SchemaNode::Kind::kRegular ? option.dfa : 0;
    out.push_back(add(frame));
  };
  if (n.kind != SchemaNode::Kind::kChoice) return begin(node);
  for (const NodeId option : n.children) begin(option);
}

void GrammarStates::step(FrameId from, std::uint8_t byte, std::vector<FrameId>& out) {
  const Frame frame = frames_[from];
  switch (frame.kind) {
    case Kind::kDone:
      return;
    case Kind::kRegular:
      return step_regular(frame, byte, out);
    case Kind::kString:
      return step_string(frame, byte, out);
    case Kind::kArray:
      return step_array(frame, byte, out);
    case Kind::kObject:
      return step_object(from, frame, byte, out);
    case Kind::kName:
      return step_name(frame, byte, out);
  }
}

void GrammarStates::step_regular(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out) {
  const std::uint32_t next = graph_.dfas.next(frame.state, byte);
  if (next == kDeadState) {
    if (graph_.dfas.accepts(frame.state)) step(frame.parent, byte, out);
    return;
  }
  if (graph_.dfas.ends(next)) return out.push_back(frame.parent);
  Frame on = frame;
  on.state = next;
  on.phase = Phase::kInside;
  out.push_back(add(on));
}

void GrammarStates::step_string(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out) {
  const SchemaNode& node = graph_.nodes[frame.node];
  Frame on = frame;
  if (frame.phase == Phase::kBefore) {
    if (byte != '"') return;
    on.phase = Phase::kInside;
    on.state = kWhole;
    return out.push_back(add(on));
  }
  if (frame.state == kWhole) {
    if (byte == '"') {
      if (frame.count >= node.least) out.push_back(frame.parent);
      return;
    }
    if (node.most != SchemaNode::kNoMost && frame.count >= node.most) return;
  }
  const StringState next = next_in_string(static_cast<StringState>(frame.state), byte);
  if (next == kNoState) return;
  on.state = next;
  // Beyond the least, only a most makes the count matter.
  if (next == kWhole && (node.most != SchemaNode::kNoMost || frame.count < node.least)) ++on.count;
  out.push_back(add(on));
}

void GrammarStates::step_array(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out) {
  const SchemaNode& node = graph_.nodes[frame.node];
  Frame on = frame;
  if (frame.phase == Phase::kBefore) {
    if (byte != '[') return;
    on.phase = Phase::kFirst;
    return out.push_back(add(on));
  }
  if (byte == ']') {
    if (frame.count >= node.least) out.push_back(frame.parent);
    return;
  }
  const NodeId item = item_at(node, frame.count);
  if (item == kNoNode || !fits(item, frame.depth) || (frame.phase == Phase::kAfter && byte != ',')) return;
  on.phase = Phase::kAfter;
  const auto matters = std::max<std::size_t>(node.least, node.children.size());
  if (node.most != SchemaNode::kNoMost || frame.count < matters) ++on.count;
  const FrameId around = add(on);
  if (frame.phase == Phase::kAfter) return begin_value(item, around, out);
  const std::size_t begin = out.size();
  begin_value(item, around, out);
  const std::size_t end = out.size();
  for (std::size_t i = begin; i < end; ++i) step(out[i], byte, out);
  out.erase(out.begin() + static_cast<std::ptrdiff_t>(begin), out.begin() + static_cast<std::ptrdiff_t>(end));
}

void GrammarStates::step_object(FrameId id, const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out) {
  const ObjectRules& rules = *graph_.nodes[frame.node].object;
  Frame on = frame;
  if (frame.phase == Phase::kBefore) {
    if (byte != '{') return;
    on.phase = Phase::kFirst;
    on.count = rules.required_after.empty() ? 0 : rules.required_after[0];
    return out.push_back(add(on));
  }
  if (byte == '}' && frame.phase != Phase::kNext) {
    if (frame.count == 0) out.push_back(frame.parent);
    return;
  }
  if (!any_selectable(frame, rules.names[0]) && !other_possible(frame)) return;
  if (frame.phase == Phase::kAfter) {
    if (byte != ',') return;
    on.phase = Phase::kNext;
    return out.push_back(add(on));
  }
  if (byte != '"') return;
  Frame name{.kind = Kind::kName, .phase = Phase::kInside, .depth = frame.depth, .node = frame.node, .parent = id};
  name.below = frame.below;
  name.state = kWhole;
  name.count = rules.properties.empty() ? kOther : 0;
  name.used = kHashStart;
  out.push_back(add(name));
}

std::uint32_t GrammarStates::name_child(const ObjectRules& rules, std::uint32_t at, std::uint8_t byte) const {
  std::uint32_t child = rules.names[at].first_child;
  while (child != 0 && rules.names[child].byte != byte) child = rules.names[child].next_sibling;
  return child;
}

void GrammarStates::step_name(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out) {
  if (frame.phase == Phase::kColon) {
    if (byte == ':') begin_member(frame, out);
    return;
  }
  const bool escaped = frame.state == kEscapedName;
  const ObjectRules& rules = *graph_.nodes[frame.node].object;
  const std::uint32_t child = frame.count == kOther ? 0 : name_child(rules, frame.count, byte);
  // Within an escape of a declared name a quote is a letter like others.
  if (byte == '"' && child == 0) return close_name(frame, out);
  const Frame& object = frames_[frame.parent];
  Frame on = frame;
  on.used = hash_on(frame.used, byte);
  const StringState next = escaped ? kNoState : next_in_string(static_cast<StringState>(frame.state), byte);
  const bool other = !escaped && byte != '\\' && next != kNoState && others_allowed && other_possible(object);
  const bool declared = child != 0 && any_selectable(object, rules.names[child]);
  if (!other && !declared) return;
  on.count = child != 0 ? child : kOther;
  on.state = escaped || byte == '\\' ? kEscapedName : static_cast<std::uint32_t>(next);
  out.push_back(add(on));
}

void GrammarStates::close_name(const Frame& frame, std::vector<FrameId>& out) {
  const ObjectRules& rules = *graph_.nodes[frame.node].object;
  const Frame& object = frames_[frame.parent];
  Frame on = frame;
  on.phase = Phase::kColon;
  const std::int32_t property = frame.count == kOther ? -1 : rules.names[frame.count].property;
  if (property >= 0) {
    if (!selectable(object, static_cast<std::uint32_t>(property))) return;
    on.state = static_cast<std::uint32_t>(property);
  } else {
    if (frame.state != kWhole || !others_allowed || !other_possible(object) || other_used(object, frame.used)) return;
    on.state = kOther;
  }
  out.push_back(add(on));
}

void GrammarStates::begin_member(const Frame& frame, std::vector<FrameId>& out) {
  const ObjectRules& rules = *graph_.nodes[frame.node].object;
  Frame object = frames_[frame.parent];
  object.phase = Phase::kAfter;
  NodeId value = rules.additional;
  if (frame.state == kOther) {
    names_.push_back({frame.used, object.others, names_[object.others].number + 1});
    object.others = static_cast<std::uint32_t>(names_.size() - 1);
  } else {
    const PropertyRule& rule = rules.properties[frame.state];
    if (rule.required) object.count -= property_cost(graph_, rule);
    object.used = rules.ordered() ? frame.state + 1 : object.used | std::uint64_t{1} << frame.state;
    value = rule.value;
  }
  if (fits(value, object.depth)) begin_value(value, add(object), out);
}

bool GrammarStates::selectable(const Frame& object, std::uint32_t property) const {
  const ObjectRules& rules = *graph_.nodes[object.node].object;
  if (!fits(rules.properties[property].value, object.depth)) return false;
  if (!rules.ordered()) return (object.used >> property & 1) == 0;
  return property >= object.used && rules.required_after[object.used] == rules.required_after[property];
}

bool GrammarStates::any_selectable(const Frame& object, const NameNode& name) const {
  const ObjectRules& rules = *graph_.nodes[object.node].object;
  for (std::uint32_t i = name.low; i < name.high; ++i)
    if (selectable(object, rules.by_name[i])) return true;
  return false;
}

bool GrammarStates::other_possible(const Frame& object) const {
  const ObjectRules& rules = *graph_.nodes[object.node].object;
  return rules.additional != kNoNode && fits(rules.additional, object.depth) &&
         names_[object.others].number < kMaxOtherNames;
}

bool GrammarStates::other_used(const Frame& object, std::uint64_t hash) const {
  for (std::uint32_t at = object.others; at != 0; at = names_[at].previous)
    if (names_[at].hash == hash) return true;
  return false;
}

bool GrammarStates::may_be_other(const Frame& name) const {
  return name.phase == Phase::kInside && name.state < kStringStates && other_possible(frames_[name.parent]);
}

std::uint32_t GrammarStates::other_name_cost(const Frame& name) const {
  const Frame& object = frames_[name.parent];
  const std::uint32_t value = graph_.nodes[graph_.nodes[name.node].object->additional].cost;
  return add_costs(2, add_costs(value, rest_cost(object, nullptr)));
}

bool GrammarStates::other_name_free(const Frame& name, std::string_view more) const {
  std::uint64_t hash = name.used;
  for (const char c : more) hash = hash_on(hash, static_cast<std::uint8_t>(c));
  return !other_used(frames_[name.parent], hash);
}

// ---- costs

bool GrammarStates::complete(FrameId id) const {
  if (id == kFloor) return true;
  const Frame& frame = frames_[id];
  return frame.kind == Kind::kRegular && frame.parent == kFloor && graph_.dfas.accepts(frame.state);
}

std::uint32_t GrammarStates::total(const Frame& frame) const {
  const SchemaNode& node = graph_.nodes[frame.node];
  switch (frame.kind) {
    case Kind::kDone:
      return 0;
    case Kind::kRegular:
      return add_costs(frame.below, graph_.dfas.cost(frame.state));
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
  const SchemaNode& node = graph_.nodes[frame.node];
  if (frame.phase == Phase::kBefore) return node.cost;
  const std::uint32_t items = items_left_cost(graph_, node, frame.count);
  return frame.phase == Phase::kFirst && items > 0 ? items : add_costs(items, 1);
}

// What follows a member: the required ones that are missing, the brace, what lies below.
std::uint32_t GrammarStates::rest_cost(const Frame& object, const PropertyRule* taken) const {
  std::uint32_t missing = object.phase == Phase::kBefore ? 0 : object.count;
  if (taken != nullptr && taken->required) missing -= property_cost(graph_, *taken);
  return add_costs(object.below, missing + 1);
}

std::uint32_t GrammarStates::object_cost(const Frame& frame) const {
  const SchemaNode& node = graph_.nodes[frame.node];
  if (frame.phase == Phase::kBefore) return node.cost;
  if (frame.phase == Phase::kAfter) return frame.count + 1;
  if (frame.count > 0) return frame.count;  // one comma less, a brace
  if (frame.phase == Phase::kFirst) return 1;
  std::uint32_t least = kNeverEnds;
  const ObjectRules& rules = *node.object;
  for (std::uint32_t p = 0; p < rules.properties.size(); ++p)
    if (selectable(frame, p)) least = std::min(least, property_cost(graph_, rules.properties[p]));
  // Name ("", or two letters to be distinct), quotes, colon, value, brace.
  if (other_possible(frame)) least = std::min(least, add_costs(6, graph_.nodes[rules.additional].cost));
  return least;
}

std::uint32_t GrammarStates::name_cost(const Frame& frame) const {
  const ObjectRules& rules = *graph_.nodes[frame.node].object;
  const Frame& object = frames_[frame.parent];
  if (frame.phase == Phase::kColon) {
    const PropertyRule* rule = frame.state == kOther ? nullptr : &rules.properties[frame.state];
    const NodeId value = rule == nullptr ? rules.additional : rule->value;
    return add_costs(add_costs(1, graph_.nodes[value].cost), rest_cost(object, rule));
  }
  std::uint32_t least = kNeverEnds;
  if (frame.count != kOther) {
    const NameNode& name = rules.names[frame.count];
    for (std::uint32_t i = name.low; i < name.high; ++i) {
      const std::uint32_t p = rules.by_name[i];
      if (!selectable(object, p)) continue;
      const PropertyRule& rule = rules.properties[p];
      const std::uint32_t left = add_costs(rule.tokens_left[name.depth + 1], graph_.nodes[rule.value].cost);
      least = std::min(least, add_costs(left, rest_cost(object, &rule)));
    }
  }
  if (others_allowed && may_be_other(frame)) {
    const std::uint32_t letters = frame.state == kWhole ? distinct_cost(frame, object)
                                                        : bytes_to_whole(static_cast<StringState>(frame.state)) + 2;
    const std::uint32_t left = add_costs(letters + 2, graph_.nodes[rules.additional].cost);
    least = std::min(least, add_costs(left, rest_cost(object, nullptr)));
  }
  return least;
}

// How many letters make an additional member's name one that is not yet taken.
std::uint32_t GrammarStates::distinct_cost(const Frame& name, const Frame& object) const {
  const ObjectRules& rules = *graph_.nodes[name.node].object;
  const bool declared = name.count != kOther && rules.names[name.count].property >= 0;
  if (!declared && !other_used(object, name.used)) return 0;
  for (std::uint8_t c = 'a'; c <= 'z'; ++c) {
    const std::uint32_t child = name.count == kOther ? 0 : name_child(rules, name.count, c);
    if (child != 0 && rules.names[child].property >= 0) continue;
    if (!other_used(object, hash_on(name.used, c))) return 1;
  }
  return 2;
}

// ---- the arena

void GrammarStates::limit(std::vector<FrameId>& tops, std::size_t from) const {
  if (tops.size() - from <= kMaxTops) return;
  const auto begin = tops.begin() + static_cast<std::ptrdiff_t>(from);
  std::nth_element(begin, begin + kMaxTops, tops.end(), [&](FrameId a, FrameId b) {
    const std::uint32_t left = cost(a), right = cost(b);
    return left != right ? left < right : a < b;
  });
  tops.resize(from + kMaxTops);
}

void GrammarStates::compact(std::vector<FrameId>& tops) {
  place_.assign(frames_.size(), 0);
  name_place_.assign(names_.size(), 0);
  for (const FrameId id : tops)
    for (FrameId at = id; at != kFloor && place_[at] == 0; at = frames_[at].parent) place_[at] = 1;
  // A list of names may be older than the frames that hold it: mark it whole.
  for (std::size_t f = 1; f < frames_.size(); ++f)
    if (place_[f] != 0)
      for (std::uint32_t n = frames_[f].others; n != 0 && name_place_[n] == 0; n = names_[n].previous)
        name_place_[n] = 1;
  kept_names_.assign(1, {});
  for (std::size_t n = 1; n < names_.size(); ++n) {
    if (name_place_[n] == 0) continue;
    kept_names_.push_back(names_[n]);
    kept_names_.back().previous = name_place_[names_[n].previous];
    name_place_[n] = static_cast<std::uint32_t>(kept_names_.size() - 1);
  }
  kept_frames_.assign(1, frames_[kFloor]);
  for (std::size_t f = 1; f < frames_.size(); ++f) {
    if (place_[f] == 0) continue;
    kept_frames_.push_back(frames_[f]);
    kept_frames_.back().parent = place_[frames_[f].parent];
    kept_frames_.back().others = name_place_[frames_[f].others];
    place_[f] = static_cast<std::uint32_t>(kept_frames_.size() - 1);
  }
  frames_.swap(kept_frames_);
  names_.swap(kept_names_);
  for (FrameId& id : tops) id = place_[id];
  std::sort(tops.begin(), tops.end());
  tops.erase(std::unique(tops.begin(), tops.end()), tops.end());
}

}  // namespace baltoro::text
