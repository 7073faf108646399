// SPDX-License-Identifier: Apache-2.0
#include "baltoro/text/prompt_builder.h"

#include <fmt/format.h>

#include <utility>

namespace baltoro::text {

void PromptBuilder::text(std::string_view text) {
  if (text.empty()) return;
  const bool apart = segments_.size() == encoded_ || segments_.back().control >= 0 || !segments_.back().sampled.empty();
  if (apart) segments_.push_back({std::string(), -1});
  segments_.back().text.append(text);
}

void PromptBuilder::control(std::string_view name) {
  if (const auto id = tokenizer_->special_id(name)) {
    segments_.push_back({std::string(name), *id});
  } else if (missing_.empty()) {
    missing_ = name;
  }
}

void PromptBuilder::control_or_text(std::string_view name) {
  if (tokenizer_->special_id(name)) {
    control(name);
  } else {
    text(name);
  }
}

void PromptBuilder::require(std::string_view name) {
  if (missing_.empty() && !tokenizer_->special_id(name)) missing_ = name;
}

Status PromptBuilder::status() const {
  if (missing_.empty()) return {};
  return Error{Errc::kUnsupported,
               fmt::format("[chat] control token {} needed, the vocabulary does not have it", missing_)};
}

void PromptBuilder::sampled(std::vector<TokenId> ids) {
  segments_.push_back({tokenizer_->decode(ids), -1, std::move(ids)});
}

std::span<const TokenId> PromptBuilder::ids_so_far(ParseSpecial parse_special) {
  for (; encoded_ < segments_.size(); ++encoded_) {
    const Segment& segment = segments_[encoded_];
    if (segment.control >= 0) {
      ids_.push_back(segment.control);
    } else if (!segment.sampled.empty()) {
      ids_.insert(ids_.end(), segment.sampled.begin(), segment.sampled.end());
    } else {
      tokenizer_->encode(segment.text, parse_special, ids_);
    }
  }
  return ids_;
}

std::vector<TokenId> PromptBuilder::ids_of(std::initializer_list<std::string_view> names) const {
  PromptBuilder piece(*tokenizer_);
  for (const std::string_view name : names) piece.control_or_text(name);
  return piece.ids(ParseSpecial::kNo);
}

std::vector<TokenId> PromptBuilder::ids(ParseSpecial parse_special) {
  static_cast<void>(ids_so_far(parse_special));
  return std::move(ids_);
}

std::string PromptBuilder::to_text() const {
  std::string text;
  for (const Segment& segment : segments_) text += segment.text;
  return text;
}

}  // namespace baltoro::text
