// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/bench_compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "baltoro/base/json.h"
#include "baltoro/cli/bench_report.h"

namespace baltoro::cli {
namespace {

// Members of a JSON object, with the place for messages.
class Reader {
 public:
  Reader(const json::Value& value, std::string place) : value_(value), place_(std::move(place)) {}

  Result<const json::Value*> member(std::string_view key, const char* expected, bool (json::Value::*is)() const) const {
    const json::Value* found = value_.is_object() ? value_.find(key) : nullptr;
    if (found != nullptr && (found->*is)()) return found;
    return Error{Errc::kInvalidArgument,
                 fmt::format("[bench compare] {}: {} expected for \"{}\", found {}", place_, expected, key,
                             found == nullptr ? "none" : json::kind_name(found->kind()))};
  }
  Result<std::string> text(std::string_view key) const {
    BALTORO_TRY(const json::Value* found, member(key, "a string", &json::Value::is_string));
    return found->as_string();
  }
  Result<const json::Array*> array(std::string_view key) const {
    BALTORO_TRY(const json::Value* found, member(key, "an array", &json::Value::is_array));
    return &found->as_array();
  }
  // Finite and over 0.
  Result<double> number(std::string_view key) const {
    BALTORO_TRY(const json::Value* found, member(key, "a number", &json::Value::is_number));
    return positive(*found, key);
  }
  Result<std::vector<double>> numbers(std::string_view key) const {
    BALTORO_TRY(const json::Array* found, array(key));
    std::vector<double> out;
    for (const json::Value& value : *found) {
      BALTORO_TRY(const double number, positive(value, key));
      out.push_back(number);
    }
    if (out.empty()) {
      return Error{Errc::kInvalidArgument, fmt::format("[bench compare] {}: \"{}\" is empty", place_, key)};
    }
    return out;
  }

 private:
  Result<double> positive(const json::Value& value, std::string_view key) const {
    if (value.is_number() && std::isfinite(value.as_double()) && value.as_double() > 0) return value.as_double();
    return Error{Errc::kInvalidArgument,
                 fmt::format("[bench compare] {}: numbers over 0 expected for \"{}\"", place_, key)};
  }
  const json::Value& value_;
  std::string place_;
};

Result<FiguresOfCase> read_row(const Reader& row) {
  FiguresOfCase figures;
  BALTORO_TRY(const std::string kind, row.text("kind"));
  BALTORO_TRY(const double batch, row.number("batch"));
  BALTORO_TRY(const double context, row.number("context"));
  BALTORO_TRY(const double tokens, row.number("tokens"));
  BALTORO_TRY(figures.seconds, row.numbers("seconds"));
  BALTORO_TRY(figures.limit_percent, row.number("limit_percent"));
  for (double& value : figures.seconds) value /= tokens;
  figures.name = kind == "prefill" ? fmt::format("prefill {:.0f}", context)
                                   : fmt::format("{} batch {:.0f} context {:.0f}", kind, batch, context);
  return figures;
}

Status read_start(const Reader& start, std::vector<FiguresOfCase>& out) {
  BALTORO_TRY(const std::string cache, start.text("cache"));
  BALTORO_TRY(const double prompt, start.number("prompt_tokens"));
  FiguresOfCase ready{.name = fmt::format("{} start, ready", cache), .seconds = {}, .is_rate = false};
  FiguresOfCase first{.name = fmt::format("{} start, first of {:.0f}", cache, prompt), .seconds = {}, .is_rate = false};
  BALTORO_TRY(ready.seconds, start.numbers("ready_seconds"));
  BALTORO_TRY(first.seconds, start.numbers("first_token_seconds"));
  out.push_back(std::move(ready));
  out.push_back(std::move(first));
  return {};
}

ComparedCase compare_case(const FiguresOfCase& a, const FiguresOfCase& b) {
  const auto [a_low, a_high] = std::minmax_element(a.seconds.begin(), a.seconds.end());
  const auto [b_low, b_high] = std::minmax_element(b.seconds.begin(), b.seconds.end());
  ComparedCase compared{.a = a, .b = b};
  compared.ratio = median(a.seconds) / median(b.seconds);
  compared.low = *a_low / *b_high;
  compared.high = *a_high / *b_low;
  return compared;
}

bool by_name(const std::vector<FiguresOfCase>& figures, const std::string& name, const FiguresOfCase** found) {
  const auto at = std::find_if(figures.begin(), figures.end(), [&](const FiguresOfCase& f) { return f.name == name; });
  *found = at == figures.end() ? nullptr : &*at;
  return *found != nullptr;
}

}  // namespace

double FiguresOfCase::shown() const { return is_rate ? 1 / median(seconds) : median(seconds); }

Result<std::vector<FiguresOfCase>> read_bench_json(std::string_view text, const std::string& name) {
  const auto document = json::parse(text);
  if (!document.ok()) {
    return Error{Errc::kInvalidArgument,
                 fmt::format("[bench compare] {}: a report of `bench --format json` expected: {}", name,
                             document.error().message)};
  }
  const Reader top(*document, name);
  BALTORO_TRY(const std::string format, top.text("format"));
  if (format != kBenchFormat) {
    return Error{Errc::kInvalidArgument,
                 fmt::format("[bench compare] {}: format \"{}\" expected, found \"{}\"", name, kBenchFormat, format)};
  }
  std::vector<FiguresOfCase> figures;
  BALTORO_TRY(const json::Array* rows, top.array("rows"));
  for (std::size_t i = 0; i < rows->size(); ++i) {
    BALTORO_TRY(FiguresOfCase row, read_row(Reader((*rows)[i], fmt::format("{}: rows[{}]", name, i))));
    figures.push_back(std::move(row));
  }
  BALTORO_TRY(const json::Array* starts, top.array("starts"));
  for (std::size_t i = 0; i < starts->size(); ++i) {
    BALTORO_TRY_STATUS(read_start(Reader((*starts)[i], fmt::format("{}: starts[{}]", name, i)), figures));
  }
  return figures;
}

Comparison compare(const std::vector<FiguresOfCase>& a, const std::vector<FiguresOfCase>& b) {
  Comparison comparison;
  const FiguresOfCase* other = nullptr;
  for (const FiguresOfCase& figures : a) {
    if (by_name(b, figures.name, &other)) {
      comparison.cases.push_back(compare_case(figures, *other));
    } else {
      comparison.only_a.push_back(figures.name);
    }
  }
  for (const FiguresOfCase& figures : b) {
    if (!by_name(a, figures.name, &other)) comparison.only_b.push_back(figures.name);
  }
  return comparison;
}

std::string comparison_table(const Comparison& comparison) {
  std::string out =
      fmt::format("{:<32}{:>12}{:>12}{:>8}{:>16}{:>10}{:>8}\n", "case", "A", "B", "B:A", "range", "limit A %", "B %");
  for (const ComparedCase& c : comparison.cases) {
    out += fmt::format("{:<32}{:>12.4g}{:>12.4g}{:>8.3f}{:>16}{:>10}{:>8}{}\n", c.a.name, c.a.shown(), c.b.shown(),
                       c.ratio, fmt::format("{:.3f}-{:.3f}", c.low, c.high),
                       c.a.limit_percent > 0 ? fmt::format("{:.0f}", c.a.limit_percent) : "-",
                       c.b.limit_percent > 0 ? fmt::format("{:.0f}", c.b.limit_percent) : "-",
                       c.overlap() ? "  overlap: no difference shown" : "");
  }
  for (const std::string& name : comparison.only_a) out += fmt::format("{:<32}only in A\n", name);
  for (const std::string& name : comparison.only_b) out += fmt::format("{:<32}only in B\n", name);
  return out +
         "Tokens per second, or seconds for starts; B:A over 1 means that B is faster. Ranges are of any two "
         "repetitions. The\n"
         "reports were made one after the other: where the limits moved, trust the shares of the limit, or alternate "
         "runs.\n";
}

std::string comparison_json(const Comparison& comparison) {
  json::Array cases, only_a(comparison.only_a.begin(), comparison.only_a.end()),
      only_b(comparison.only_b.begin(), comparison.only_b.end());
  for (const ComparedCase& c : comparison.cases) {
    cases.emplace_back(json::Object{{"case", c.a.name},
                                    {"a", c.a.shown()},
                                    {"b", c.b.shown()},
                                    {"ratio", c.ratio},
                                    {"ratio_low", c.low},
                                    {"ratio_high", c.high},
                                    {"overlap", c.overlap()},
                                    {"limit_percent_a", c.a.limit_percent},
                                    {"limit_percent_b", c.b.limit_percent}});
  }
  return json::dump(
             json::Object{{"cases", std::move(cases)}, {"only_a", std::move(only_a)}, {"only_b", std::move(only_b)}}) +
         "\n";
}

}  // namespace baltoro::cli
