// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/string_masks.h"

#include <algorithm>

namespace baltoro::text {

StringMasks::StringMasks(const TokenTrie& trie, const Tokenizer& tokenizer) {
  for (auto& bits : whole_) bits.resize(trie.text_tokens().size());
  for (std::size_t place = 0; place < places_.size(); ++place) add_place(place, trie, tokenizer);
  for (unsigned state = kWhole; state < kBackslash; ++state) add_name(static_cast<StringState>(state), trie, tokenizer);
}

void StringMasks::add_place(std::size_t at, const TokenTrie& trie, const Tokenizer& tokenizer) {
  Place& place = places_[at];
  place.all.resize(trie.text_tokens().size());
  std::vector<TokenExit> endings;
  for (const TokenTrie::Node& node : trie.nodes()) {
    if (node.token < 0) continue;
    const std::string_view bytes = tokenizer.token_bytes(node.token);
    StringState state = at == kBeforeQuote ? kWhole : static_cast<StringState>(at);
    std::uint16_t characters = 0;
    std::size_t read = at == kBeforeQuote ? 1 : 0;
    if (read == 1 && bytes[0] != '"') continue;
    while (read < bytes.size() && state != kNoState && !(state == kWhole && bytes[read] == '"')) {
      state = next_in_string(state, static_cast<std::uint8_t>(bytes[read++]));
      characters = static_cast<std::uint16_t>(characters + (state == kWhole));
    }
    if (state == kNoState) continue;
    if (read == bytes.size()) {
      const auto left = static_cast<std::uint8_t>(bytes_to_whole(state));
      const auto begun = static_cast<std::uint16_t>(characters + (state != kWhole));
      set_bit(place.all, node.token);
      place.most_characters = std::max<std::uint32_t>(place.most_characters, begun);
      place.most_left = std::max<std::uint32_t>(place.most_left, left);
      if (at == kWhole && left == 0 && begun <= kShort) {
        for (std::size_t n = begun; n <= kShort; ++n) set_bit(whole_[n], node.token);
      } else {
        place.inside.push_back({node.token, begun, left});
      }
      continue;
    }
    const std::string_view rest = bytes.substr(read + 1);
    if (rest.empty() || rest[0] == ',' || rest[0] == ']' || rest[0] == '}')
      endings.push_back({rest, node.token, characters});
  }
  std::sort(place.inside.begin(), place.inside.end(), [](const Inside& a, const Inside& b) {
    return a.characters != b.characters ? a.characters < b.characters : a.token < b.token;
  });
  place.exits = TokenExits(endings);
}

void StringMasks::add_name(StringState from, const TokenTrie& trie, const Tokenizer& tokenizer) {
  std::vector<std::pair<std::uint32_t, TokenId>> inside;
  std::vector<TokenExit> endings;
  for (const TokenTrie::Node& node : trie.nodes()) {
    if (node.token < 0) continue;
    const std::string_view bytes = tokenizer.token_bytes(node.token);
    StringState state = from;
    std::size_t at = 0;
    while (at < bytes.size() && state != kNoState && bytes[at] != '\\' && !(bytes[at] == '"' && state == kWhole))
      state = next_in_string(state, static_cast<std::uint8_t>(bytes[at++]));
    if (state == kNoState) continue;
    if (at == bytes.size()) {
      inside.emplace_back(bytes_to_whole(state), node.token);
    } else if (bytes[at] == '"' && (at + 1 == bytes.size() || bytes[at + 1] == ':')) {
      endings.push_back({bytes.substr(at + 1), node.token});
    }
  }
  names_[from] = make_mask_entry(inside, endings, trie.text_tokens().size());
}

void StringMasks::set_inside(std::span<std::uint64_t> allowed, std::size_t at, std::uint32_t missing,
                             std::uint32_t room, std::int64_t budget) const {
  const Place& place = places_[at];
  if (missing == 0 && room >= place.most_characters && budget > place.most_left) {
    for (std::size_t i = 0; i < place.all.size(); ++i) allowed[i] |= place.all[i];
    return;
  }
  // The closing quote, and characters that must come but do not with this token.
  const std::int64_t least = std::int64_t{missing} + 1 - budget;
  if (budget < 1 || least > room) return;
  if (at == kWhole) {
    const auto& most = whole_[std::min(room, kShort)];
    if (least <= 1) {
      for (std::size_t i = 0; i < most.size(); ++i) allowed[i] |= most[i];
    } else if (least <= kShort) {
      const auto& less = whole_[static_cast<std::size_t>(least) - 1];
      for (std::size_t i = 0; i < most.size(); ++i) allowed[i] |= most[i] & ~less[i];
    }
  }
  for (const Inside& token : place.inside) {
    if (token.characters > room) break;
    if (token.characters >= least + token.left && token.left < budget) set_bit(allowed, token.token);
  }
}

}  // namespace baltoro::text
