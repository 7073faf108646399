// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/responses_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

namespace baltoro::server {
namespace {

// Of what one request has read again of stored responses, as JSON: it may name them in a few bytes.
constexpr std::size_t kMaxBytesRead = std::size_t{32} << 20;

// Stored by us, so it parses.
json::Array stored_items(const std::string& text) {
  auto items = json::parse(text);
  BALTORO_CHECK(items.ok() && items->is_array(), "a stored response is not what was written");
  return std::move(items->as_array());
}

void append_items(json::Array& out, const std::string& text) {
  json::Array items = stored_items(text);
  std::move(items.begin(), items.end(), std::back_inserter(out));
}

// Every item of the conversation before `last`, oldest first, then what `last` brought.
json::Array items_up_to(const StoredResponse& last) {
  std::vector<const StoredResponse*> chain;
  for (const StoredResponse* one = last.before.get(); one != nullptr; one = one->before.get()) chain.push_back(one);
  json::Array out;
  for (std::size_t i = chain.size(); i-- > 0;) {
    append_items(out, chain[i]->input);
    append_items(out, chain[i]->output);
  }
  append_items(out, last.input);
  return out;
}

std::size_t bytes_up_to(const StoredResponse& last) {
  std::size_t bytes = 0;
  for (const StoredResponse* one = &last; one != nullptr; one = one->before.get()) bytes += one->bytes();
  return bytes;
}

std::string_view id_of(const json::Value& item) {
  const json::Value* id = item.find("id");
  return id != nullptr && id->is_string() ? std::string_view(id->as_string()) : std::string_view();
}

const char* id_prefix(const json::Value& item) {
  const json::Value* type = item.find("type");
  if (type == nullptr || !type->is_string() || type->as_string() == "message") return "msg";
  if (type->as_string() == "function_call") return "fc";
  if (type->as_string() == "reasoning") return "rs";
  return "item";
}

void set_if_absent(json::Value& object, std::string_view key, json::Value value) {
  if (object.find(key) == nullptr) object.set(key, std::move(value));
}

// A message's content as parts, whatever short form it came in.
void complete_content(json::Value& message) {
  const bool said = message.find("role")->is_string() && message.find("role")->as_string() == "assistant";
  json::Value* content = message.find("content");
  if (content == nullptr) return;
  if (content->is_string()) {
    json::Object part{{"type", said ? "output_text" : "input_text"}, {"text", content->as_string()}};
    *content = json::Array{std::move(part)};
  }
  if (!said || !content->is_array()) return;
  for (json::Value& part : content->as_array()) {
    if (!part.is_object()) continue;
    set_if_absent(part, "annotations", json::Array{});
    set_if_absent(part, "logprobs", json::Array{});
  }
}

// Input items as they are listed: with id, type and state, contents in parts.
void complete_input(json::Array& items, std::string_view response_id) {
  for (std::size_t i = 0; i < items.size(); ++i) {
    json::Value& item = items[i];
    if (item.find("role") != nullptr) {
      set_if_absent(item, "type", "message");
      complete_content(item);
    }
    if (id_of(item).empty()) item.set("id", fmt::format("{}_{}_in{}", id_prefix(item), response_id.substr(5), i));
    set_if_absent(item, "status", "completed");
  }
}

// The value of `key` in "a=b&c=d", "" when absent. Ids and words need no decoding.
std::string_view query_value(std::string_view query, std::string_view key) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), pair.size() + 1));
    if (pair.starts_with(key) && pair.substr(key.size()).starts_with('=')) return pair.substr(key.size() + 1);
  }
  return {};
}

Error bad_query(const char* key, std::string_view needed) {
  Error error{Errc::kInvalidArgument, fmt::format("{}: {} is needed", key, needed)};
  error.field = key;
  return error;
}

}  // namespace

ResponsesService::ResponsesService(Options options) : options_(std::move(options)), store_(options_.store) {}

Remembered ResponsesService::remembered(std::string_view owner, ResponseStore::Kept& previous) {
  Remembered out;
  out.conversation = [this, owner, &previous](const std::string& id) -> Result<json::Array> {
    const auto refused = [](Errc code, std::string message) {
      return Error{code, std::move(message), "previous_response_id"};
    };
    previous = store_.find(owner, id);
    if (previous == nullptr)
      return refused(Errc::kNotFound, fmt::format("Previous response with id '{}' not found.", id.substr(0, 128)));
    if (const std::size_t bytes = bytes_up_to(*previous); bytes > kMaxBytesRead)
      return refused(Errc::kInvalidArgument,
                     fmt::format("previous_response_id: a conversation of at most {} bytes is read again, this one has "
                                 "{}; send its items",
                                 kMaxBytesRead, bytes));
    json::Array items = items_up_to(*previous);
    append_items(items, previous->output);
    return items;
  };
  out.item = [this, owner, left = kMaxBytesRead](const std::string& id) mutable -> Result<json::Value> {
    const auto response = store_.find(owner, response_of_item(id));
    const auto parts = response == nullptr ? std::vector<const std::string*>{}
                                           : std::vector<const std::string*>{&response->output, &response->input};
    for (const std::string* part : parts) {
      if (part->size() > left) return Error{Errc::kInvalidArgument, "too much is referred to; send the items"};
      left -= part->size();
      for (json::Value& item : stored_items(*part)) {
        if (id_of(item) == id) return std::move(item);
      }
    }
    return Error{Errc::kNotFound, fmt::format("no item \"{}\" is remembered", id.substr(0, 128))};
  };
  out.open = [this, owner](std::string_view sealed) { return options_.seal.open(sealed, owner); };
  return out;
}

Result<ResponsesService::Prepared> ResponsesService::prepare(const json::Value& body, std::string_view owner,
                                                             std::string id, std::string model_id) {
  ResponseStore::Kept previous;
  BALTORO_TRY(ResponsesCall call, parse_responses(body, options_.limits, remembered(owner, previous)));
  ResponsesHead head{.id = id,
                     .model = std::move(model_id),
                     .created_unix_s = options_.now_unix_s(),
                     .echo = std::move(call.echo),
                     .stream = call.stream,
                     .seal = nullptr,
                     .now_unix_s = options_.now_unix_s,
                     .on_complete = nullptr};
  if (call.seal_reasoning) {
    head.seal = [this, owner = std::string(owner)](std::string_view text) { return options_.seal.seal(text, owner); };
  }
  if (call.store) {
    complete_input(call.input, id);
    head.on_complete = [this, owner = std::string(owner), id, input = json::dump(std::move(call.input)),
                        before = std::move(previous)](const std::string& response, const json::Array& output) {
      auto stored = std::make_shared<StoredResponse>();
      stored->id = id;
      stored->response = response;
      stored->input = input;
      stored->output = json::dump(output);
      stored->before = before;
      store_.put(owner, std::move(stored));
    };
  }
  return Prepared{.request = std::move(call.request),
                  .writer = make_responses_writer(std::move(head)),
                  .model = std::move(call.model),
                  .stream = call.stream,
                  .truncate = call.truncate,
                  .unreadable_reasoning = call.unreadable_reasoning};
}

Result<ResponsesService::Prepared> ResponsesService::prepare_count(const json::Value& body, std::string_view owner) {
  ResponseStore::Kept previous;
  BALTORO_TRY(ResponsesCall call, parse_responses(body, options_.limits, remembered(owner, previous)));
  Prepared out;
  out.request = std::move(call.request);
  out.model = std::move(call.model);
  out.truncate = call.truncate;
  return out;
}

Result<ResponseStore::Kept> ResponsesService::known(std::string_view owner, std::string_view id) {
  auto kept = store_.find(owner, id);
  if (kept != nullptr) return kept;
  return Error{Errc::kNotFound, fmt::format("Response with id '{}' not found.", id.substr(0, 128)), "response_id"};
}

Result<std::string> ResponsesService::get(std::string_view owner, std::string_view id, std::string_view query) {
  if (query_value(query, "stream") == "true") {
    return Error{Errc::kUnsupported, "stream: a stored response is not streamed again, get it as a whole", "stream"};
  }
  BALTORO_TRY(const ResponseStore::Kept kept, known(owner, id));
  return kept->response;
}

Result<std::string> ResponsesService::erase(std::string_view owner, std::string_view id) {
  BALTORO_TRY(const ResponseStore::Kept kept, known(owner, id));
  store_.erase(owner, id);
  return json::dump(json::Object{{"id", kept->id}, {"object", "response"}, {"deleted", true}});
}

Result<std::string> ResponsesService::cancel(std::string_view owner, std::string_view id) {
  BALTORO_TRY(const ResponseStore::Kept kept, known(owner, id));
  return Error{Errc::kInvalidArgument,
               "Only responses created with `background: true` can be cancelled; this one is complete (closing its "
               "connection cancels one that is not)",
               "response_id"};
}

Result<std::string> ResponsesService::input_items(std::string_view owner, std::string_view id, std::string_view query) {
  std::size_t limit = 20;
  if (const std::string_view text = query_value(query, "limit"); !text.empty()) {
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), limit);
    if (code != std::errc{} || end != text.data() + text.size() || limit < 1 || limit > 100)
      return bad_query("limit", "an integer from 1 to 100");
  }
  const std::string_view order = query_value(query, "order");
  if (!order.empty() && order != "asc" && order != "desc") return bad_query("order", "asc or desc");
  BALTORO_TRY(const ResponseStore::Kept kept, known(owner, id));
  json::Array items = items_up_to(*kept);
  if (order != "asc") std::ranges::reverse(items);
  auto first = items.begin();
  if (const std::string_view after = query_value(query, "after"); !after.empty()) {
    first = std::ranges::find_if(items, [&](const json::Value& item) { return id_of(item) == after; });
    if (first == items.end()) return bad_query("after", "the id of one of this response's items");
    ++first;
  }
  const auto left = static_cast<std::size_t>(items.end() - first);
  json::Array page(first, first + static_cast<std::ptrdiff_t>(std::min(left, limit)));
  const auto name = [](const json::Value& item) { return json::Value(id_of(item)); };
  json::Object out{{"object", "list"}};
  const json::Value none = nullptr;
  out.emplace_back("first_id", page.empty() ? none : name(page.front()));
  out.emplace_back("last_id", page.empty() ? none : name(page.back()));
  out.emplace_back("has_more", left > limit);
  out.emplace_back("data", std::move(page));
  return json::dump(std::move(out));
}

Status shorten_to_context(llm::Backend& backend, llm::ChatRequest& request) {
  const std::int64_t context = backend.model().max_context_tokens;
  const std::int64_t answer = std::min(request.limits.max_tokens.value_or(1), context / 2);
  const std::vector<text::Message> messages = request.conversation.messages;
  // The conversation from message `from` on, with the system messages before it.
  const auto keep_from = [&](std::size_t from) {
    auto& kept = request.conversation.messages;
    kept.clear();
    for (std::size_t m = 0; m < messages.size(); ++m) {
      if (m >= from || messages[m].role == text::Role::kSystem) kept.push_back(messages[m]);
    }
  };
  std::vector<std::size_t> turns{0};  // where one may begin: a result without its call cannot be rendered
  for (std::size_t m = 1; m < messages.size(); ++m) {
    if (messages[m].role == text::Role::kUser) turns.push_back(m);
  }
  std::size_t low = 0, high = turns.size();  // the first that fits is in [low, high]
  while (low < high) {
    const std::size_t middle = low == 0 && high == turns.size() ? 0 : low + (high - low) / 2;
    keep_from(turns[middle]);
    BALTORO_TRY(const std::int64_t tokens, backend.count_tokens(request));
    if (tokens + answer <= context) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  keep_from(low < turns.size() ? turns[low] : 0);
  return {};
}

}  // namespace baltoro::server
