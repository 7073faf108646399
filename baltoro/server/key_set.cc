// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/key_set.h"

#include <fmt/format.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <mutex>
#include <span>
#include <utility>

#include "baltoro/base/hex.h"
#include "baltoro/base/json.h"

namespace baltoro::server {
namespace {

constexpr std::size_t kMostFileBytes = 16 << 20;
constexpr std::int64_t kMostLimit = std::int64_t{1} << 50;

Error bad(std::size_t index, const std::string& what) {
  return {.code = Errc::kInvalidArgument, .message = fmt::format("[keys] keys[{}]: {}", index, what)};
}

bool good_name(std::string_view name) {
  return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

// The limit of that name, or nullptr.
std::int64_t* limit_of(KeyLimits& limits, std::string_view name) {
  if (name == "max_concurrent") return &limits.max_concurrent;
  if (name == "requests_per_minute") return &limits.requests_per_minute;
  if (name == "tokens_per_minute") return &limits.tokens_per_minute;
  if (name == "tokens_total") return &limits.tokens_total;
  return nullptr;
}

Status read_member(std::size_t index, const std::string& key, const json::Value& value, KeyEntry& out, int& keys) {
  if (key == "name") {
    if (!value.is_string() || !good_name(value.as_string()))
      return bad(index, "name of 1 to 64 letters, digits, '.', '_' or '-' needed");
    out.name = value.as_string();
  } else if (key == "sha256") {
    if (!value.is_string() || !read_hex(value.as_string(), out.digest))
      return bad(index, "sha256 of 64 hex digits needed");
    ++keys;
  } else if (key == "key") {
    if (!value.is_string() || value.as_string().empty()) return bad(index, "key that is not empty needed");
    out.digest = key_digest(value.as_string());
    ++keys;
  } else if (key == "priority") {
    if (value.kind() != json::Kind::kInt || value.as_int() < -1000 || value.as_int() > 1000)
      return bad(index, "priority from -1000 to 1000 needed");
    out.limits.priority = static_cast<std::int32_t>(value.as_int());
  } else if (std::int64_t* limit = limit_of(out.limits, key)) {
    if (value.kind() != json::Kind::kInt || value.as_int() < 1 || value.as_int() > kMostLimit)
      return bad(index, fmt::format("{} of 1 to 2^50 needed; leave it out for no limit", key));
    *limit = value.as_int();
  } else {
    return bad(index,
               "unknown member; name, sha256 or key, max_concurrent, requests_per_minute, tokens_per_minute, "
               "tokens_total and priority are known");
  }
  return {};
}

}  // namespace

KeyDigest key_digest(std::string_view key) { return sha256(std::as_bytes(std::span(key))); }

std::vector<KeyEntry> plain_keys(const std::vector<std::string>& keys, std::size_t first) {
  std::vector<KeyEntry> out;
  for (const std::string& key : keys)
    out.push_back({.name = fmt::format("key-{}", first + out.size()), .digest = key_digest(key), .limits = {}});
  return out;
}

Result<std::vector<KeyEntry>> parse_keys(std::string_view json) {
  BALTORO_TRY(const json::Value file, json::parse(json, {.max_bytes = kMostFileBytes, .max_depth = 8}));
  const auto whole = [](std::string message) {
    return Error{.code = Errc::kInvalidArgument, .message = "[keys] " + std::move(message)};
  };
  if (!file.is_object() || file.as_object().size() != 1 || file.as_object()[0].first != "keys" ||
      !file.as_object()[0].second.is_array())
    return whole("an object with the one member keys, a list, needed");
  std::vector<KeyEntry> out;
  for (const json::Value& item : file.as_object()[0].second.as_array()) {
    const std::size_t index = out.size();
    if (!item.is_object()) return bad(index, "an object needed");
    KeyEntry entry;
    int keys = 0;
    for (const auto& [key, value] : item.as_object()) BALTORO_TRY_STATUS(read_member(index, key, value, entry, keys));
    if (entry.name.empty()) return bad(index, "a name needed");
    if (keys != 1) return bad(index, "one of sha256 and key needed");
    for (const KeyEntry& other : out) {
      if (other.name == entry.name) return bad(index, "a name of its own needed");
      if (other.digest == entry.digest)
        return bad(index, fmt::format("a key of its own needed, \"{}\" has it", other.name));
    }
    out.push_back(std::move(entry));
  }
  if (out.empty()) return whole("at least one key needed");  // an empty file must not open the server to everyone
  return out;
}

struct KeySet::State {
  using Entries = std::vector<std::pair<KeyDigest, std::shared_ptr<KeyAccount>>>;
  std::function<double()> clock = steady_seconds;
  std::mutex mutex;
  std::shared_ptr<const Entries> entries = std::make_shared<Entries>();

  std::shared_ptr<const Entries> now() {
    const std::lock_guard lock(mutex);
    return entries;
  }
};

KeySet::KeySet() : state_(std::make_shared<State>()) {}

KeySet KeySet::of(const std::vector<KeyEntry>& entries, std::function<double()> clock) {
  KeySet out;
  out.state_->clock = std::move(clock);
  out.replace(entries);
  return out;
}

bool KeySet::open() const { return state_->now()->empty(); }

std::shared_ptr<KeyAccount> KeySet::account(std::string_view key) const {
  const KeyDigest given = key_digest(key);
  const auto entries = state_->now();
  const std::shared_ptr<KeyAccount>* found = nullptr;
  for (const auto& entry : *entries) {
    const bool same = CRYPTO_memcmp(given.data(), entry.first.data(), given.size()) == 0;
    found = same ? &entry.second : found;
  }
  return found == nullptr ? nullptr : *found;
}

void KeySet::replace(const std::vector<KeyEntry>& entries) {
  const auto before = state_->now();
  auto after = std::make_shared<State::Entries>();
  for (const KeyEntry& entry : entries) {
    const auto old = std::ranges::find_if(
        *before, [&](const auto& one) { return one.first == entry.digest && one.second->name() == entry.name; });
    if (old == before->end()) {
      after->emplace_back(entry.digest, std::make_shared<KeyAccount>(entry.name, entry.limits, state_->clock));
    } else {
      old->second->set_limits(entry.limits);
      after->push_back(*old);
    }
  }
  const std::lock_guard lock(state_->mutex);
  state_->entries = std::move(after);
}

}  // namespace baltoro::server
