// SPDX-License-Identifier: Apache-2.0
// Tests only: a raw TCP connection to a server on the loopback, which can misbehave.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace baltoro::server {

class TestConnection {
 public:
  explicit TestConnection(std::uint16_t port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~TestConnection() { close(); }
  TestConnection(const TestConnection&) = delete;
  TestConnection& operator=(const TestConnection&) = delete;

  bool connected() const { return connected_; }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  void shutdown_send() { ::shutdown(fd_, SHUT_WR); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  // Closes with a reset instead of a FIN.
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

  // Reads until `text` is in what came, the peer closes, or the time is over. Returns all unread bytes up to the end
  // of `text` (all of them if it never came).
  std::string read_until(std::string_view text, double seconds = 10) {
    std::size_t at = std::string::npos;
    while ((at = buffer_.find(text)) == std::string::npos && fill(seconds)) {
    }
    const std::size_t end = at == std::string::npos ? buffer_.size() : at + text.size();
    std::string out = buffer_.substr(0, end);
    buffer_.erase(0, end);
    return out;
  }
  // Everything until the peer closes.
  std::string read_all(double seconds = 10) {
    while (fill(seconds)) {
    }
    return std::exchange(buffer_, {});
  }
  // True if the peer closes within the time (unread bytes are dropped).
  bool closed_within(double seconds) {
    while (fill(seconds)) {
    }
    return ended_;
  }

  // One answer with Content-Length: head and body.
  std::string read_answer() {
    std::string out = read_until("\r\n\r\n");
    const std::size_t at = out.find("Content-Length: ");
    if (at == std::string::npos) return out;
    const std::size_t length = std::stoul(out.substr(at + 16));
    while (buffer_.size() < length && fill(10)) {
    }
    out += buffer_.substr(0, length);
    buffer_.erase(0, length);
    return out;
  }

 private:
  bool fill(double seconds) {
    if (ended_ || !readable(seconds)) return false;
    char chunk[4096];
    const ssize_t got = ::recv(fd_, chunk, sizeof chunk, 0);
    if (got <= 0) {
      ended_ = true;
      return false;
    }
    buffer_.append(chunk, static_cast<std::size_t>(got));
    return true;
  }

  // Waits in short pieces: a machine that stands still for a while costs one of them, not all.
  bool readable(double seconds) const {
    for (int pieces = 1 + static_cast<int>(seconds / 0.05); pieces > 0; --pieces) {
      pollfd state{fd_, POLLIN, 0};
      if (::poll(&state, 1, 50) > 0) return true;
    }
    return false;
  }

  int fd_;
  bool connected_ = false, ended_ = false;
  std::string buffer_;
};

}  // namespace baltoro::server
