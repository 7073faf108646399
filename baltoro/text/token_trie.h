// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "baltoro/base/result.h"
#include "baltoro/text/tokenizer.h"

namespace baltoro::text {

inline constexpr std::size_t kMaxTrieTokenBytes =
    256;  // longer tokens are left out, so that walks are of bounded depth

// The text tokens of a vocabulary (control tokens excluded) as a trie of their bytes: one flat array in preorder,
// children in order of byte. A walk that a byte-level automaton prunes visits only what may come next, instead of
// trying every token. Immutable; any thread.
class TokenTrie {
 public:
  struct Node {
    std::uint32_t end;   // one past the subtree; its first child, if it has one, is the node after this
    TokenId token;       // that ends here, or -1
    std::uint8_t byte;   // on the edge from the parent
    std::uint8_t depth;  // bytes from the root, less one
  };

  // O(bytes of the vocabulary). Of tokens with equal bytes the lowest id is kept. kUnsupported: not every single byte
  // is a token, so that not every text could be written.
  static Result<TokenTrie> build(const Tokenizer& tokenizer);

  const std::vector<Node>& nodes() const { return nodes_; }  // top-level nodes are siblings from 0 on
  std::int64_t vocab_size() const { return vocab_size_; }
  const std::vector<std::uint64_t>& text_tokens() const { return text_tokens_; }  // a bit for each, long ones too
  std::size_t bytes() const { return nodes_.size() * sizeof(Node) + text_tokens_.size() * 8; }

  // Calls use(length, token) for every token that is a prefix of `text`, shortest first.
  template <typename Use>
  void for_prefixes(std::string_view text, const Use& use) const {
    std::uint32_t begin = 0, end = static_cast<std::uint32_t>(nodes_.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
      const std::uint32_t at = find(begin, end, static_cast<std::uint8_t>(text[i]), i == 0);
      if (at == kNone) return;
      if (nodes_[at].token >= 0) use(i + 1, nodes_[at].token);
      begin = at + 1;
      end = nodes_[at].end;
    }
  }

  // least[i]: the fewest tokens that spell text[i..) exactly; least[text.size()] is 0.
  std::vector<std::uint16_t> fewest_tokens(std::string_view text) const;

 private:
  static constexpr std::uint32_t kNone = 0xFFFFFFFF;
  std::uint32_t find(std::uint32_t begin, std::uint32_t end, std::uint8_t byte, bool top) const {
    if (top) return top_[byte];
    for (std::uint32_t i = begin; i < end; i = nodes_[i].end)
      if (nodes_[i].byte == byte) return i;
    return kNone;
  }

  std::vector<Node> nodes_;
  std::array<std::uint32_t, 256> top_{};
  std::vector<std::uint64_t> text_tokens_;
  std::int64_t vocab_size_ = 0;
};

}  // namespace baltoro::text
