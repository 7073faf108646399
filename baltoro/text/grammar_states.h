// SPDX-License-Identifier: Apache-2.0
// The pushdown automaton of a schema over bytes. Inside text/ only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "baltoro/text/schema_graph.h"

namespace baltoro::text {

using FrameId = std::uint32_t;
inline constexpr FrameId kFloor = 0;  // the frame under the whole value: nothing may follow

// Where the reader stands in one value; `parent` is the frame of the value around it, as it will be when this one ends.
struct Frame {
  enum class Kind : std::uint8_t { kDone, kChoice, kRegular, kString, kArray, kObject, kName } kind = Kind::kDone;
  enum class Phase : std::uint8_t {
    kBefore,  // the value has not begun
    kFirst,   // behind [ or {
    kInside,  // a string or a name
    kAfter,   // behind an item or member
    kNext,    // object: behind a comma
    kColon,   // name: behind its closing quote
  } phase = Phase::kBefore;
  std::uint16_t depth = 0;
  NodeId node = 0;
  FrameId parent = kFloor;
  std::uint32_t below = 0;  // cost of all that must follow when this value has ended
  std::uint32_t state = 0;  // kRegular: of the automaton; kString, kName: StringState, or at kColon the property
  std::uint32_t count = 0;  // kString: code points; kArray: items; kObject: cost of the required members missing;
                            // kName: node of the names' trie, or kOther
  std::uint64_t used =
      0;  // kObject: the properties taken (ordered(): the first one not passed); kName: hash of the text
  std::uint32_t others = 0;  // kObject: the last of the list of additional names, 0: none
};

inline constexpr std::uint32_t kOther = 0xFFFFFFFF;   // no declared name begins so; at kColon: an additional member
inline constexpr std::uint32_t kEscapedName = 100;    // kName's state: behind a backslash, only declared names do
inline constexpr std::size_t kMaxTops = 128;          // alternatives followed at once; the cheapest are kept
inline constexpr std::size_t kManyTops = 4096;        // of one alternative alone, where kMaxTops left no way on
inline constexpr std::uint32_t kMaxOtherNames = 512;  // additional members of one object

// All alternatives are told apart byte by byte; what they share lies below them in one arena.
class GrammarStates {
 public:
  explicit GrammarStates(const SchemaGraph& graph);  // which must outlive its use
  void restart(const SchemaGraph& graph);

  // Appends the frame of a value of `node` above `parent`, if there is room for its nesting.
  void begin_value(NodeId node, FrameId parent, std::vector<FrameId>& out);
  // Appends where one byte leads from tops[begin, end): the cheapest `most_tops` of it.
  void advance(std::vector<FrameId>& tops, std::size_t begin, std::size_t end, std::uint8_t byte);
  // At most so many tokens from here to the end of the whole value.
  std::uint32_t cost(FrameId id) const { return total(frames_[id]); }
  // Whether nothing need follow (numbers may still go on).
  bool complete(FrameId id) const;

  // Whether a name may still become an additional member's.
  bool may_be_other(const Frame& name) const;
  // What must follow the letters of such a name: quote, colon, value and the rest.
  std::uint32_t other_name_cost(const Frame& name) const;
  // Whether the name and `more` letters together may be an additional member's: neither declared nor taken.
  bool other_name_free(const Frame& name, std::string_view more) const;
  std::uint16_t declared_only = 0;  // objects nested this deep take declared members only; 0: none

  const Frame& frame(FrameId id) const { return frames_[id]; }
  FrameId add(const Frame& frame);
  const SchemaGraph& graph() const { return *graph_; }

  // Everything made after a mark is forgotten.
  struct Mark {
    std::size_t frames, names;
  };
  Mark mark() const { return {frames_.size(), names_.size()}; }
  void release(Mark mark);
  // Drops what no top needs; renumbers the tops.
  void compact(std::vector<FrameId>& tops);
  // Keeps the cheapest of tops[from..), those in front if they are too many.
  void keep_cheapest(std::vector<FrameId>& tops, std::size_t from, std::size_t most) const;

  mutable std::uint32_t deepest = 0;  // the deepest nesting that any step counted on since it was set
  std::size_t widest = 0;             // the most alternatives that a byte led to since it was set
  std::size_t most_tops = kMaxTops;

 private:
  struct OtherName {
    std::uint64_t hash;
    std::uint32_t previous, number;
  };

  static std::uint64_t hash_on(std::uint64_t hash, std::uint8_t byte) { return (hash ^ byte) * 0x100000001B3; }
  bool fits(NodeId node, std::uint16_t depth) const {
    const SchemaNode& n = graph_->nodes[node];
    if (n.cost >= kNeverEnds || depth + n.height > kMaxValueDepth) return false;
    if (depth + n.height > deepest) deepest = depth + n.height;
    return true;
  }
  // Where one byte leads from `from`; appended to `out`.
  void step(FrameId from, std::uint8_t byte, std::vector<FrameId>& out);
  void step_choice(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out);
  void step_regular(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out);
  void step_string(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out);
  void step_array(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out);
  void step_object(FrameId id, const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out);
  void step_name(const Frame& frame, std::uint8_t byte, std::vector<FrameId>& out);
  void close_name(const Frame& frame, std::vector<FrameId>& out);
  void begin_member(const Frame& frame, std::vector<FrameId>& out);

  std::uint32_t total(const Frame& frame) const;
  std::uint32_t array_cost(const Frame& frame) const;
  std::uint32_t object_cost(const Frame& frame) const;
  std::uint32_t name_cost(const Frame& frame) const;
  std::uint32_t rest_cost(const Frame& object, const PropertyRule* taken) const;
  bool selectable(const Frame& object, std::uint32_t property) const;
  bool any_selectable(const Frame& object, const NameNode& name) const;
  bool others_allowed(const Frame& name) const { return name.depth != declared_only; }
  bool other_possible(const Frame& object) const;
  bool other_used(const Frame& object, std::uint64_t hash) const;
  std::uint32_t distinct_cost(const Frame& name, const Frame& object) const;

  const SchemaGraph* graph_;
  std::vector<Frame> frames_;
  std::vector<OtherName> names_;  // [0] is none
  std::vector<Frame> kept_frames_;
  std::vector<OtherName> kept_names_;
  std::vector<std::uint32_t> place_, name_place_;
};

}  // namespace baltoro::text
