// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/openai_sampling.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "baltoro/base/utf8.h"

namespace baltoro::server {
namespace {

std::optional<float> real(FieldReader& reader, std::string_view key, double min, double max) {
  const auto value = reader.number(key, min, max);
  return value ? std::optional(static_cast<float>(*value)) : std::nullopt;
}

void read_logit_bias(FieldReader& reader, const ApiLimits& limits, llm::Sampling& out) {
  const json::Value* bias = reader.object("logit_bias");
  if (bias == nullptr) return;
  if (bias->as_object().size() > limits.max_logit_bias) {
    return reader.fail("logit_bias", fmt::format("at most {} tokens are accepted, {} seen", limits.max_logit_bias,
                                                 bias->as_object().size()));
  }
  for (const auto& [key, value] : bias->as_object()) {
    std::int32_t token = -1;
    const auto [end, code] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (code != std::errc{} || end != key.data() + key.size() || token < 0) {
      return reader.fail("logit_bias", "keys must be token ids");
    }
    if (!value.is_number() || !(std::abs(value.as_double()) <= 100)) {
      return reader.fail("logit_bias", fmt::format("the bias of token {} must be a number from -100 to 100", token));
    }
    out.logit_bias.emplace_back(token, static_cast<float>(value.as_double()));
  }
}

void read_seed(FieldReader& reader, llm::Sampling& out) {
  const json::Value* seed = reader.any("seed");
  if (seed == nullptr) return;
  if (!seed->is_integer()) return reader.wrong_kind("seed", "an integer", *seed);
  // Negative seeds are legal in OpenAI's API: two's complement keeps them apart.
  out.seed = seed->kind() == json::Kind::kUint ? seed->as_uint() : static_cast<std::uint64_t>(seed->as_int());
}

void read_stop(FieldReader& reader, const ApiLimits& limits, std::vector<std::string>& out) {
  const json::Value* stop = reader.any("stop");
  if (stop == nullptr) return;
  if (stop->is_string()) {
    out.push_back(stop->as_string());
  } else if (stop->is_array()) {
    const json::Array* items = reader.array("stop", limits.max_stops);
    for (std::size_t i = 0; items != nullptr && i < items->size(); ++i) {
      const json::Value& item = (*items)[i];
      if (!item.is_string()) {
        return reader.fail_with(field_error(reader.path("stop", i),
                                            fmt::format("a string is needed, {} seen", json::kind_name(item.kind()))));
      }
      out.push_back(item.as_string());
    }
  } else {
    return reader.wrong_kind("stop", "a string or an array of strings", *stop);
  }
  for (const std::string& text : out) {
    if (text.empty()) return reader.fail("stop", "stop strings must not be empty");
    if (text.size() > limits.max_stop_bytes) {
      return reader.fail("stop",
                         fmt::format("stop strings may have {} bytes, one has {}", limits.max_stop_bytes, text.size()));
    }
  }
}

json::Value bytes_json(const std::string& bytes) {
  json::Array out;
  for (char c : bytes) out.emplace_back(static_cast<int>(static_cast<unsigned char>(c)));
  return out;
}

json::Object token_json(const std::string& bytes, float logprob) {
  return {{"token", token_text(bytes)}, {"logprob", logprob_json(logprob)}, {"bytes", bytes_json(bytes)}};
}

}  // namespace

llm::Sampling read_sampling(FieldReader& reader, const ApiLimits& limits) {
  llm::Sampling out;
  out.temperature = real(reader, "temperature", 0, 2);
  out.top_p = real(reader, "top_p", 0, 1);
  out.min_p = real(reader, "min_p", 0, 1);
  out.presence_penalty = real(reader, "presence_penalty", -2, 2);
  out.frequency_penalty = real(reader, "frequency_penalty", -2, 2);
  out.repetition_penalty = real(reader, "repetition_penalty", 0.01, 10);
  // -1 is how some clients say "off".
  if (const auto top_k = reader.integer("top_k", -1, INT32_MAX)) {
    out.top_k = *top_k < 0 ? 0 : static_cast<std::int32_t>(*top_k);
  }
  read_seed(reader, out);
  read_logit_bias(reader, limits, out);
  return out;
}

llm::Limits read_limits(FieldReader& reader, const ApiLimits& limits) {
  llm::Limits out;
  out.n = static_cast<std::int32_t>(reader.integer("n", 1, limits.max_choices).value_or(1));
  out.ignore_eos = reader.boolean("ignore_eos").value_or(false);
  read_stop(reader, limits, out.stop);
  if (const json::Array* ids = reader.array("stop_token_ids", limits.max_stops)) {
    for (const json::Value& id : *ids) {
      if (id.kind() != json::Kind::kInt || id.as_int() < 0 || id.as_int() > INT32_MAX) {
        reader.fail("stop_token_ids", "token ids are needed");
        break;
      }
      out.stop_token_ids.push_back(static_cast<std::int32_t>(id.as_int()));
    }
  }
  return out;
}

StreamChoice read_stream(FieldReader& reader) {
  StreamChoice out;
  out.stream = reader.boolean("stream").value_or(false);
  if (const json::Value* options = reader.object("stream_options")) {
    if (!out.stream) reader.fail("stream_options", "only allowed when stream is true");
    FieldReader inner(*options, reader.path("stream_options"));
    out.include_usage = inner.boolean("include_usage").value_or(false);
    if (!inner.ok()) reader.fail_with(inner.status().error());
  }
  return out;
}

std::string read_model(FieldReader& reader) {
  const std::string* model = reader.string("model");
  return model == nullptr ? std::string() : *model;
}

json::Value usage_json(const llm::Usage& usage) {
  json::Object out;
  out.emplace_back("prompt_tokens", usage.tokens_prompt);
  out.emplace_back("completion_tokens", usage.tokens_output);
  out.emplace_back("total_tokens", usage.tokens_prompt + usage.tokens_output);
  out.emplace_back("cached_tokens", usage.tokens_cached);
  out.emplace_back("prompt_tokens_details", json::Object{{"cached_tokens", usage.tokens_cached}});
  out.emplace_back("completion_tokens_details", json::Object{{"reasoning_tokens", usage.tokens_reasoning}});
  if (usage.identical_calls > 1) out.emplace_back("identical_tool_calls", usage.identical_calls);
  return out;
}

void add_usage(llm::Usage& total, const llm::Usage& choice_usage, std::int32_t choice, std::int32_t n) {
  if (choice % n == 0) {
    total.tokens_prompt += choice_usage.tokens_prompt;
    total.tokens_cached += choice_usage.tokens_cached;
  }
  total.tokens_output += choice_usage.tokens_output;
  total.tokens_reasoning += choice_usage.tokens_reasoning;
  total.identical_calls = std::max(total.identical_calls, choice_usage.identical_calls);
}

std::string token_text(const std::string& bytes) { return utf8_sanitize(bytes); }

json::Value logprob_json(float logprob) {
  if (std::isnan(logprob)) return nullptr;
  if (logprob < -9999.0f) return -9999.0;
  // The shortest decimal that gives this float back, not the float's double.
  char text[32];
  const auto written = std::to_chars(text, text + sizeof text, logprob);
  double value = 0;
  std::from_chars(text, written.ptr, value);
  return value;
}

json::Array tokens_json(const std::vector<llm::Logprob>& tokens) {
  json::Array out;
  for (const llm::Logprob& token : tokens) {
    json::Object entry = token_json(token.bytes, token.logprob);
    json::Array top;
    for (const auto& [bytes, logprob] : token.top) top.emplace_back(token_json(bytes, logprob));
    entry.emplace_back("top_logprobs", std::move(top));
    out.emplace_back(std::move(entry));
  }
  return out;
}

}  // namespace baltoro::server
