// SPDX-License-Identifier: Apache-2.0
// Any bytes as a traceparent header: refused, or taken over in a form that is one again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "baltoro/server/trace_context.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace baltoro::server;
  const std::string header(reinterpret_cast<const char*>(data), size);
  const auto trace = parse_traceparent(header);
  const TraceContext made = make_trace(&header, 1, size);
  if (trace && made.trace_id != trace->trace_id) std::abort();
  if (!parse_traceparent(traceresponse(made))) std::abort();
  return 0;
}
