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

constexpr std::size_t kUsualFrames = 256;
constexpr std::size_t kMaxSteps = 1024;  // alternatives that a byte opens before the cheapest are kept

Kind frame_kind(SchemaNode::Kind kind) {
  switch (kind) {
    case SchemaNode::Kind::kChoice:
      return Kind::kChoice;
    case SchemaNode::Kind::kObject:
      return Kind::kObject;
    case SchemaNode::Kind::kArray:
      return Kind::kArray;
    case SchemaNode::Kind::kString:
      return Kind::kString;
    case SchemaNode::Kind::kRegular:
      break;
  }
  return Kind::kRegular;
}

}  // namespace

GrammarStates::GrammarStates(const SchemaGraph& graph) : graph_(&graph) {
  frames_.reserve(kUsualFrames);
  frames_.emplace_back();
  names_.push_back({});
}

FrameId GrammarStates::add(const Frame& frame) {
  const Frame copy = frame;  // it may lie in the arena that grows
  frames_.push_back(copy);
  return static_cast<FrameId>(frames_.size() - 1);
}

void GrammarStates::restart(const SchemaGraph& graph) {
  graph_ = &graph;
  most_tops = kMaxTops;
  release({1, 1});
}

void GrammarStates::release(Mark mark) {
  frames_.resize(mark.frames);
  names_.resize(mark.names);
}

void GrammarStates::begin_value(NodeId node, FrameId parent, std::vector<FrameId>& out) {
  const std::uint16_t depth = frames_[parent].depth;
  if (!fits(node, depth)) return;
  const SchemaNode& n = graph_->nodes[node];
  Frame frame{
      .kind = frame_kind(n.kind), .depth = static_cast<std::uint16_t>(depth + 1), .node = node, .parent = parent};
  frame.below = cost(parent);
  frame.state = n.kind == SchemaNode::Kind::kRegular ? n.dfa : 0;
  out.push_back(add(frame));
}

void GrammarStates::advance(std::vector<FrameId>& tops, std::size_t begin, std::size_t end, std::uint8_t byte) {
  const std::size_t most_steps = std::max(kMaxSteps, most_tops);
  const std::size_t from = tops.size();
  for (std::size_t t = begin; t < end && tops.size() - from < most_steps; ++t) step(tops[t], byte, tops);
  widest = std::max(widest, tops.size() - from);
  keep_cheapest(tops, from, most_tops);
}

void GrammarStates::step(FrameId from, std::uint8_t byte, std::vector<FrameId>& out) {
  const Frame frame = frames_[from];
  switch (frame.kind) {
    case Kind::kDone:
      return;
    case Kind::kChoice:
      return step_choice(frame, byte, out);
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

void GrammarStates::step_choice(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out) {
  if (!graph_->nodes[frame.node].first.test(byte)) return;
  for (const NodeId option : graph_->nodes[frame.node].children) {
    const SchemaNode& node = graph_->nodes[option];
    if (!node.first.test(byte) || !fits(option, static_cast<std::uint16_t>(frame.depth - 1))) continue;
    Frame value = frame;
    value.kind = frame_kind(node.kind);
    value.node = option;
    value.state = node.kind == SchemaNode::Kind::kRegular ? node.dfa : 0;
    step(add(value), byte, out);
  }
}

void GrammarStates::step_regular(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out) {
  const std::uint32_t next = graph_->dfas.next(frame.state, byte);
  if (next == kDeadState) {
    if (graph_->dfas.accepts(frame.state)) step(frame.parent, byte, out);
    return;
  }
  if (graph_->dfas.ends(next)) return out.push_back(frame.parent);
  Frame on = frame;
  on.state = next;
  on.phase = Phase::kInside;
  out.push_back(add(on));
}

void GrammarStates::step_string(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out) {
  const SchemaNode& node = graph_->nodes[frame.node];
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
  const SchemaNode& node = graph_->nodes[frame.node];
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
  begin_value(item, around, out);
  const FrameId first = out.back();
  out.pop_back();
  step(first, byte, out);
}

void GrammarStates::step_object(FrameId id, const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out) {
  const ObjectRules& rules = *graph_->nodes[frame.node].object;
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

void GrammarStates::step_name(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out) {
  if (frame.phase == Phase::kColon) {
    if (byte == ':') begin_member(frame, out);
    return;
  }
  const bool escaped = frame.state == kEscapedName;
  const ObjectRules& rules = *graph_->nodes[frame.node].object;
  const std::uint32_t child = frame.count == kOther ? 0 : rules.name_child(frame.count, byte);
  // Within an escape of a declared name a quote is a letter like others.
  if (byte == '"' && child == 0) return close_name(frame, out);
  const Frame& object = frames_[frame.parent];
  Frame on = frame;
  on.used = hash_on(frame.used, byte);
  const StringState next = escaped ? kNoState : next_in_string(static_cast<StringState>(frame.state), byte);
  const bool other = !escaped && byte != '\\' && next != kNoState && others_allowed(frame) && other_possible(object);
  const bool declared = child != 0 && any_selectable(object, rules.names[child]);
  if (!other && !declared) return;
  on.count = child != 0 ? child : kOther;
  on.state = escaped || byte == '\\' ? kEscapedName : static_cast<std::uint32_t>(next);
  out.push_back(add(on));
}

void GrammarStates::close_name(const Frame& frame, std::vector<FrameId>& out) {
  const ObjectRules& rules = *graph_->nodes[frame.node].object;
  const Frame& object = frames_[frame.parent];
  Frame on = frame;
  on.phase = Phase::kColon;
  const std::int32_t property = frame.count == kOther ? -1 : rules.names[frame.count].property;
  if (property >= 0) {
    if (!selectable(object, static_cast<std::uint32_t>(property))) return;
    on.state = static_cast<std::uint32_t>(property);
  } else {
    if (frame.state != kWhole || !others_allowed(frame) || !other_possible(object) || other_used(object, frame.used))
      return;
    on.state = kOther;
  }
  out.push_back(add(on));
}

void GrammarStates::begin_member(const Frame& frame, std::vector<FrameId>& out) {
  const ObjectRules& rules = *graph_->nodes[frame.node].object;
  Frame object = frames_[frame.parent];
  object.phase = Phase::kAfter;
  NodeId value = rules.additional;
  if (frame.state == kOther) {
    names_.push_back({frame.used, object.others, names_[object.others].number + 1});
    object.others = static_cast<std::uint32_t>(names_.size() - 1);
  } else {
    const PropertyRule& rule = rules.properties[frame.state];
    if (rule.required) object.count -= property_cost(*graph_, rule);
    object.used = rules.ordered() ? frame.state + 1 : object.used | std::uint64_t{1} << frame.state;
    value = rule.value;
  }
  if (fits(value, object.depth)) begin_value(value, add(object), out);
}

bool GrammarStates::selectable(const Frame& object, std::uint32_t property) const {
  const ObjectRules& rules = *graph_->nodes[object.node].object;
  if (!fits(rules.properties[property].value, object.depth)) return false;
  if (!rules.ordered()) return (object.used >> property & 1) == 0;
  return property >= object.used && rules.required_after[object.used] == rules.required_after[property];
}

bool GrammarStates::any_selectable(const Frame& object, const NameNode& name) const {
  const ObjectRules& rules = *graph_->nodes[object.node].object;
  for (std::uint32_t i = name.low; i < name.high; ++i)
    if (selectable(object, rules.by_name[i])) return true;
  return false;
}

bool GrammarStates::other_possible(const Frame& object) const {
  const ObjectRules& rules = *graph_->nodes[object.node].object;
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
  const std::uint32_t value = graph_->nodes[graph_->nodes[name.node].object->additional].cost;
  return add_costs(2, add_costs(value, rest_cost(object, nullptr)));
}

bool GrammarStates::other_name_free(const Frame& name, std::string_view more) const {
  const ObjectRules& rules = *graph_->nodes[name.node].object;
  std::uint64_t hash = name.used;
  std::uint32_t at = name.count;
  for (const char c : more) {
    hash = hash_on(hash, static_cast<std::uint8_t>(c));
    const std::uint32_t child = at == kOther ? 0 : rules.name_child(at, static_cast<std::uint8_t>(c));
    at = child == 0 ? kOther : child;
  }
  const bool declared = at != kOther && rules.names[at].property >= 0;
  return !declared && !other_used(frames_[name.parent], hash);
}

void GrammarStates::keep_cheapest(std::vector<FrameId>& tops, std::size_t from, std::size_t most) const {
  if (tops.size() - from <= most) return;
  const auto begin = tops.begin() + static_cast<std::ptrdiff_t>(from);
  std::partial_sort(begin, begin + static_cast<std::ptrdiff_t>(most), tops.end(), [&](FrameId a, FrameId b) {
    const std::uint32_t left = cost(a), right = cost(b);
    return left != right ? left < right : a < b;
  });
  tops.resize(from + most);
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
