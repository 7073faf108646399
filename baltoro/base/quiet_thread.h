// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <thread>

#include "baltoro/base/result.h"

namespace baltoro {

// Starts a thread that takes no signals: those are for the program's own. kResourceExhausted when the system gives
// none.
Result<std::thread> start_quiet_thread(std::function<void()> body);

}  // namespace baltoro
