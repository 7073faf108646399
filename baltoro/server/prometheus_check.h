// SPDX-License-Identifier: Apache-2.0
// Tests only: holds a text against the Prometheus exposition format 0.0.4, strictly.
#pragma once

#include <charconv>
#include <cmath>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace baltoro::server {

struct MetricsText {
  std::string error;                         // the first fault, empty: none
  std::map<std::string, std::string> types;  // family -> counter, gauge, histogram
  std::map<std::string, double> samples;     // "name{labels}" -> value
};

class PrometheusCheck {
 public:
  static MetricsText check(std::string_view text) {
    PrometheusCheck one;
    if (!text.ends_with('\n')) one.fail("no newline at the end");
    while (!text.empty() && one.out_.error.empty()) {
      const std::size_t end = text.find('\n');
      one.line(text.substr(0, end));
      text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    }
    one.end_family();
    return one.out_;
  }

 private:
  using Labels = std::vector<std::pair<std::string, std::string>>;

  void fail(const std::string& what) {
    if (out_.error.empty()) out_.error = what;
  }
  static bool name_ok(std::string_view name, bool colon) {
    if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
    for (char c : name)
      if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
            (colon && c == ':')))
        return false;
    return true;
  }

  void line(std::string_view text) {
    if (text.starts_with("# HELP ")) return help(text.substr(7));
    if (text.starts_with("# TYPE ")) return type(text.substr(7));
    if (text.empty() || text[0] == '#') return fail("an odd line: " + std::string(text));
    sample(text);
  }
  void help(std::string_view rest) {
    end_family();
    const std::size_t space = rest.find(' ');
    if (space == std::string_view::npos || space + 1 == rest.size()) return fail("HELP without a text");
    family_ = rest.substr(0, space);
    if (!name_ok(family_, true)) fail("a bad name: " + family_);
    if (out_.types.contains(family_)) fail("twice: " + family_);
    kind_.clear();
  }
  void type(std::string_view rest) {
    const std::size_t space = rest.find(' ');
    if (space == std::string_view::npos || rest.substr(0, space) != family_ || !kind_.empty())
      return fail("TYPE not behind its HELP: " + std::string(rest));
    kind_ = rest.substr(space + 1);
    if (kind_ != "counter" && kind_ != "gauge" && kind_ != "histogram") fail("an odd type: " + kind_);
    if ((kind_ == "counter") != family_.ends_with("_total")) fail("only counters end in _total: " + family_);
    out_.types[family_] = kind_;
  }

  void sample(std::string_view text) {
    if (kind_.empty()) return fail("a sample without a head: " + std::string(text));
    const std::size_t space = text.rfind(' ');
    if (space == std::string_view::npos) return fail("no value: " + std::string(text));
    const auto value = number(text.substr(space + 1));
    const std::string_view series = text.substr(0, space);
    const std::size_t brace = series.find('{');
    const std::string name(series.substr(0, brace));
    Labels labels;
    if (brace != std::string_view::npos && !read_labels(series.substr(brace), labels))
      return fail("bad labels: " + std::string(text));
    if (!value.second) return fail("a bad value: " + std::string(text));
    if (kind_ != "histogram" && name != family_) return fail("a foreign sample: " + std::string(text));
    if (kind_ == "counter" && !(value.first >= 0)) fail("a counter below 0: " + std::string(text));
    if (!out_.samples.emplace(std::string(series), value.first).second) fail("twice: " + std::string(series));
    if (kind_ == "histogram") part(name, std::move(labels), value.first);
  }

  static std::pair<double, bool> number(std::string_view text) {
    if (text == "+Inf") return {HUGE_VAL, true};
    if (text == "-Inf") return {-HUGE_VAL, true};
    double value = 0;
    const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    return {value, code == std::errc{} && end == text.data() + text.size() && std::isfinite(value)};
  }

  // {name="value",...}, with \\ \" \n as the only escapes.
  static bool read_labels(std::string_view text, Labels& out) {
    if (text.size() < 2 || text.front() != '{' || text.back() != '}') return false;
    text = text.substr(1, text.size() - 2);
    std::set<std::string> names;
    while (!text.empty()) {
      const std::size_t equal = text.find("=\"");
      if (equal == std::string_view::npos || !name_ok(text.substr(0, equal), false)) return false;
      std::string name(text.substr(0, equal)), value;
      text.remove_prefix(equal + 2);
      bool closed = false;
      while (!text.empty() && !closed) {
        const char c = text[0];
        closed = c == '"';
        if (c == '\\') {
          if (text.size() < 2 || std::string_view("\\\"n").find(text[1]) == std::string_view::npos) return false;
          value += text.substr(0, 2);
          text.remove_prefix(2);
          continue;
        }
        if (!closed) value += c;
        text.remove_prefix(1);
      }
      if (!closed || !names.insert(name).second) return false;
      out.emplace_back(std::move(name), std::move(value));
      if (text.empty()) return true;
      if (text[0] != ',') return false;
      text.remove_prefix(1);
      if (text.empty()) return false;
    }
    return false;  // {}
  }

  struct Series {
    double bound = -HUGE_VAL, total = 0, count = -1;
    bool infinite = false, sum = false;
  };
  void part(const std::string& name, Labels labels, double value) {
    std::string bound, key;
    for (const auto& [label, text] : labels)
      (label == "le" ? bound : key) += label == "le" ? text : label + "=" + text + ";";
    Series& series = series_[key];
    if (name == family_ + "_bucket") {
      const auto le = number(bound);
      if (!le.second || le.first <= series.bound) return fail("buckets out of order: " + name + bound);
      if (value < series.total) return fail("buckets that shrink: " + name);
      series.bound = le.first;
      series.total = value;
      series.infinite = bound == "+Inf";
    } else if (name == family_ + "_sum") {
      series.sum = true;
    } else if (name == family_ + "_count") {
      series.count = value;
    } else {
      fail("a foreign sample: " + name);
    }
  }
  void end_family() {
    for (const auto& [key, series] : series_)
      if (!series.infinite || !series.sum || series.count != series.total)
        fail("an incomplete histogram: " + family_ + key);
    series_.clear();
    if (!family_.empty() && kind_.empty()) fail("no TYPE: " + family_);
  }

  MetricsText out_;
  std::string family_, kind_;
  std::map<std::string, Series> series_;
};

}  // namespace baltoro::server
