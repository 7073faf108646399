// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/answer_writer.h"

#include "baltoro/server/openai_errors.h"

namespace baltoro::server {

Response AnswerWriter::error_response(const Error& error) const { return openai_error_response(error); }

void AnswerWriter::failed(const Error& error, std::string& out) { out += openai_error_event(error); }

void AnswerWriter::keep_alive(std::string& out) { out += ": keep-alive\n\n"; }

}  // namespace baltoro::server
