// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/metrics_text.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

namespace baltoro::server {
namespace {

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

}  // namespace

void metric_head(std::string& out, std::string_view name, std::string_view type, std::string_view help) {
  fmt::format_to(std::back_inserter(out), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void metric_sample(std::string& out, std::string_view name, std::string_view labels, double value) {
  out += name;
  if (!labels.empty()) out.append("{").append(labels).append("}");
  out.append(" ").append(number(value)).append("\n");
}

void metric_single(std::string& out, std::string_view name, std::string_view type, std::string_view help,
                   double value) {
  metric_head(out, name, type, help);
  metric_sample(out, name, {}, value);
}

void metric_histogram(std::string& out, std::string_view name, std::string_view labels, const Histogram& values) {
  const std::string before = labels.empty() ? std::string() : std::string(labels) + ",";
  double total = 0;
  for (std::size_t i = 0; i < values.counts().size(); ++i) {
    total += static_cast<double>(values.counts()[i]);
    const std::string bound = i < values.bounds().size() ? number(values.bounds()[i]) : "+Inf";
    metric_sample(out, fmt::format("{}_bucket", name), before + metric_label("le", bound), total);
  }
  metric_sample(out, fmt::format("{}_sum", name), labels, values.sum());
  metric_sample(out, fmt::format("{}_count", name), labels, total);
}

std::string metric_label(std::string_view key, std::string_view value) {
  std::string out(key);
  out += "=\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return out + '"';
}

std::string metric_name(std::string_view name) {
  std::string out = "baltoro_";
  for (const char c : name) {
    const bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    out += good ? c : '_';
  }
  return out;
}

}  // namespace baltoro::server
