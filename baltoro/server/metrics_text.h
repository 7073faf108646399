// SPDX-License-Identifier: Apache-2.0
// Pieces of the Prometheus text format 0.0.4. Appended to `out`.
#pragma once

#include <string>
#include <string_view>

#include "baltoro/base/histogram.h"

namespace baltoro::server {

// "# HELP" and "# TYPE": once for each name, before its samples.
void metric_head(std::string& out, std::string_view name, std::string_view type, std::string_view help);
// A name with one sample.
void metric_single(std::string& out, std::string_view name, std::string_view type, std::string_view help, double value);
// One sample. `labels`: "a=\"b\",c=\"d\"" or "".
void metric_sample(std::string& out, std::string_view name, std::string_view labels, double value);
// The buckets, sum and count of one series, without a head.
void metric_histogram(std::string& out, std::string_view name, std::string_view labels, const Histogram& values);
// key="value", with the value escaped.
std::string metric_label(std::string_view key, std::string_view value);
// A backend's name in our spelling: "baltoro_" and [a-zA-Z0-9_]; another character becomes '_'.
std::string metric_name(std::string_view name);

}  // namespace baltoro::server
