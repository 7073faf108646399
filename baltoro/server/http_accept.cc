// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/http_accept.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/write.hpp>
#include <exception>
#include <new>

#include "baltoro/server/http_message.h"

namespace baltoro::server {
namespace {

constexpr std::size_t kMaxRefusals = 64;  // connections over the limit that still get their 503

// g++ 12 under AddressSanitizer sees half of how Asio allocates a coroutine's frame, and takes the pair for a mismatch.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"

// Tells a client over the connection limit so.
asio::awaitable<void> turn_away(tcp::socket socket, HttpShared& shared) {
  asio::steady_timer timer(shared.io);
  timer.expires_after(std::chrono::seconds(1));
  timer.async_wait([&socket](error_code code) {
    error_code ignored;
    if (!code) socket.cancel(ignored);
  });
  Response response = shared.handler.protocol_error({}, 503, "too many connections; try again later");
  const std::string bytes = whole_response(response, {}, false);
  auto [code, count] = co_await asio::async_write(socket, asio::buffer(bytes), kTuple);
  error_code ignored;
  socket.shutdown(tcp::socket::shutdown_send, ignored);
  std::array<char, 1024> sink;
  while (!code) {
    auto [ended, got] = co_await socket.async_read_some(asio::buffer(sink), kTuple);
    code = ended;
  }
  timer.cancel();
  --shared.refusals;
}

#pragma GCC diagnostic pop

// Out of memory ends this connection; the others go on, and so does accepting.
void start_session(tcp::socket socket, HttpShared& shared) {
  try {
    auto session = std::make_shared<HttpSession>(std::move(socket), shared);
    asio::co_spawn(shared.io, session->run(), [session](const std::exception_ptr& thrown) {
      if (thrown) session->abort();
    });
  } catch (const std::bad_alloc&) {
    ++shared.handler.counters().connections_refused;
  }
}

// A descriptor kept for the moment when there is none left: given up, it lets a client in to be told so, who would else
// wait unanswered.
class SpareDescriptor {
 public:
  SpareDescriptor() { open(); }
  ~SpareDescriptor() { close(); }
  SpareDescriptor(const SpareDescriptor&) = delete;
  SpareDescriptor& operator=(const SpareDescriptor&) = delete;

  // Turns those away that wait at the listening socket, some at most. How many.
  std::int64_t turn_away(int listening, const std::string& answer) {
    std::int64_t count = 0;
    for (bool more = true; more && count < 64 && fd_ >= 0; count += more ? 1 : 0) {
      close();
      const int client = ::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
      more = client >= 0;
      if (more) {
        (void)!::send(client, answer.data(), answer.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        ::shutdown(client, SHUT_WR);
        ::close(client);
      }
      open();
    }
    return count;
  }

 private:
  void open() { fd_ = ::open("/dev/null", O_RDONLY | O_CLOEXEC); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  int fd_ = -1;
};

}  // namespace

asio::awaitable<void> accept_all(tcp::acceptor& acceptor, HttpShared& shared) {
  asio::steady_timer pause(shared.io);
  SpareDescriptor spare;
  while (acceptor.is_open()) {
    auto [code, socket] = co_await acceptor.async_accept(kTuple);
    if (!acceptor.is_open()) co_return;
    if (code) {  // out of descriptors, or the client left already
      if (code == asio::error::no_descriptors) {
        const Response full = shared.handler.protocol_error({}, 503, "too many connections; try again later");
        shared.handler.counters().connections_refused +=
            spare.turn_away(acceptor.native_handle(), whole_response(full, {}, false));
      }
      pause.expires_after(std::chrono::milliseconds(100));
      auto [waited] = co_await pause.async_wait(kTuple);
      (void)waited;
    } else if (shared.handler.counters().connections >= static_cast<std::int64_t>(shared.options.max_connections)) {
      ++shared.handler.counters().connections_refused;
      if (shared.refusals >= kMaxRefusals) continue;  // closed by its destructor
      ++shared.refusals;
      asio::co_spawn(shared.io, turn_away(std::move(socket), shared), asio::detached);
    } else {
      start_session(std::move(socket), shared);
    }
  }
}

}  // namespace baltoro::server
