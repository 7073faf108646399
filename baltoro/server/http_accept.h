// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "baltoro/server/http_session.h"

namespace baltoro::server {

// Starts a session for each client that connects, until the acceptor is closed. Clients over the limit of connections,
// or of the process's descriptors, are told so with a 503.
asio::awaitable<void> accept_all(tcp::acceptor& acceptor, HttpShared& shared);

}  // namespace baltoro::server
