// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/token_trie.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace baltoro::text {

Result<TokenTrie> TokenTrie::build(const Tokenizer& tokenizer) {
  TokenTrie trie;
  trie.vocab_size_ = tokenizer.vocab_size();
  trie.text_tokens_.resize((static_cast<std::size_t>(trie.vocab_size_) + 63) / 64);
  trie.top_.fill(kNone);
  std::vector<std::pair<std::string_view, TokenId>> tokens;
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    const std::string_view bytes = tokenizer.token_bytes(id);
    if (bytes.empty() || tokenizer.is_special(id)) continue;
    trie.text_tokens_[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (id % 64);
    if (bytes.size() <= kMaxTrieTokenBytes) tokens.emplace_back(bytes, id);
  }
  std::sort(tokens.begin(), tokens.end());
  std::vector<std::uint32_t> path;  // nodes of the previous token
  std::string_view previous;
  const auto close = [&](std::size_t depth) {
    while (path.size() > depth) {
      trie.nodes_[path.back()].end = static_cast<std::uint32_t>(trie.nodes_.size());
      path.pop_back();
    }
  };
  for (const auto& [bytes, id] : tokens) {
    const auto common = static_cast<std::size_t>(
        std::mismatch(previous.begin(), previous.end(), bytes.begin(), bytes.end()).first - previous.begin());
    if (common == bytes.size()) continue;  // a repeated token
    close(common);
    for (std::size_t i = common; i < bytes.size(); ++i) {
      const auto byte = static_cast<std::uint8_t>(bytes[i]);
      if (i == 0) trie.top_[byte] = static_cast<std::uint32_t>(trie.nodes_.size());
      path.push_back(static_cast<std::uint32_t>(trie.nodes_.size()));
      trie.nodes_.push_back({.end = 0, .token = -1, .byte = byte, .depth = static_cast<std::uint8_t>(i)});
    }
    trie.nodes_[path.back()].token = id;
    previous = bytes;
  }
  close(0);
  trie.nodes_.shrink_to_fit();
  for (std::size_t byte = 0; byte < trie.top_.size(); ++byte) {
    if (trie.top_[byte] == kNone || trie.nodes_[trie.top_[byte]].token < 0)
      return Error{
          Errc::kUnsupported,
          fmt::format("[token trie] a token for every single byte needed, the vocabulary has none for {}", byte)};
  }
  return trie;
}

std::vector<std::uint16_t> TokenTrie::fewest_tokens(std::string_view text) const {
  std::vector<std::uint16_t> least(text.size() + 1, std::numeric_limits<std::uint16_t>::max());
  least[text.size()] = 0;
  for (std::size_t i = text.size(); i-- > 0;) {
    for_prefixes(text.substr(i, kMaxTrieTokenBytes), [&](std::size_t length, TokenId) {
      least[i] = static_cast<std::uint16_t>(
          std::min<std::uint32_t>(least[i], std::min<std::uint32_t>(least[i + length] + 1U, 0xFFFF)));
    });
  }
  return least;
}

}  // namespace baltoro::text
