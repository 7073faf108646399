// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/string_masks.h"

#include <algorithm>

#include "baltoro/text/json_string_states.h"

namespace baltoro::text {

StringMasks::StringMasks(const TokenTrie& trie, const Tokenizer& tokenizer) : words_(trie.text_tokens().size()) {
  for (const TokenTrie::Node& node : trie.nodes()) {
    if (node.token < 0) continue;
    const std::string_view bytes = tokenizer.token_bytes(node.token);
    StringState state = kWhole;
    std::uint16_t characters = 0;
    std::size_t at = 0;
    while (at < bytes.size() && state != kNoState && !(state == kWhole && bytes[at] == '"')) {
      state = next_in_string(state, static_cast<std::uint8_t>(bytes[at++]));
      characters = static_cast<std::uint16_t>(characters + (state == kWhole));
    }
    if (state == kNoState) continue;
    if (at == bytes.size()) {
      const auto begun = static_cast<std::uint16_t>(characters + (state != kWhole));
      inside_.push_back({node.token, begun, static_cast<std::uint8_t>(bytes_to_whole(state))});
      continue;
    }
    const std::string_view rest = bytes.substr(at + 1);
    if (rest.empty() || rest[0] == ',' || rest[0] == ']' || rest[0] == '}')
      endings_.push_back({{rest, node.token}, characters});
  }
  std::sort(endings_.begin(), endings_.end(), [](const Ending& a, const Ending& b) {
    return a.exit.spelling != b.exit.spelling ? a.exit.spelling < b.exit.spelling : a.exit.token < b.exit.token;
  });
}

std::shared_ptr<MaskEntry> StringMasks::entry(std::uint32_t missing, std::uint32_t room) const {
  std::vector<std::pair<std::uint32_t, TokenId>> inside;
  inside.reserve(inside_.size());
  for (const Inside& token : inside_) {
    if (token.characters > room) continue;
    const std::uint32_t lacking = missing > token.characters ? missing - token.characters : 0;
    inside.emplace_back(token.left + 1U + lacking, token.token);
  }
  std::vector<TokenExit> exits;
  for (const Ending& ending : endings_)
    if (ending.characters >= missing && ending.characters <= room) exits.push_back(ending.exit);
  return make_mask_entry(inside, exits, words_);
}

}  // namespace baltoro::text
