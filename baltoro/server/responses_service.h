// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "baltoro/llm/llm.h"
#include "baltoro/server/answer_writer.h"
#include "baltoro/server/api_limits.h"
#include "baltoro/server/response_store.h"
#include "baltoro/server/responses.h"
#include "baltoro/server/seal.h"

namespace baltoro::server {

// The Responses API with its memory: what was stored, and the key that seals reasoning. Thread-safe. An `owner` is one
// client's name; nobody sees what another owner stored.
class ResponsesService {
 public:
  struct Options {
    ApiLimits limits;
    StoreLimits store;
    Seal seal;
    std::function<std::int64_t()> now_unix_s;
  };
  explicit ResponsesService(Options options);

  // A request that the backend can take, and what writes (and then stores) its answer. Outlived by this.
  struct Prepared {
    llm::ChatRequest request;
    std::unique_ptr<AnswerWriter> writer;
    std::string model;
    bool stream = false;
    bool truncate = false;
    std::int64_t unreadable_reasoning = 0;
  };
  // `id` names the response, "resp_...".
  Result<Prepared> prepare(const json::Value& body, std::string_view owner, std::string id, std::string model_id);
  // The body of POST .../input_tokens: only `request`, `model` and `truncate` are set.
  Result<Prepared> prepare_count(const json::Value& body, std::string_view owner);

  // JSON answers; kNotFound for what is not stored for that owner.
  Result<std::string> get(std::string_view owner, std::string_view id, std::string_view query);
  Result<std::string> erase(std::string_view owner, std::string_view id);
  Result<std::string> cancel(std::string_view owner, std::string_view id);
  // Query: limit (1 to 100, default 20), order (asc, desc; default desc), after (an item's id).
  Result<std::string> input_items(std::string_view owner, std::string_view id, std::string_view query);

  const ResponseStore& store() const { return store_; }

 private:
  Remembered remembered(std::string_view owner, ResponseStore::Kept& previous);
  Result<ResponseStore::Kept> known(std::string_view owner, std::string_view id);

  const Options options_;
  ResponseStore store_;
};

// Where a prompt leaves too little room for an answer, drops the oldest turns, system messages aside, as many as it
// takes; a conversation whose last turn alone is too long stays as it is, for the backend to refuse.
Status shorten_to_context(llm::Backend& backend, llm::ChatRequest& request);

}  // namespace baltoro::server
