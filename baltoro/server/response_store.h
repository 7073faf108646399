// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace baltoro::server {

// Bytes of responses that live, on a shelf or behind another one.
struct StoreMeter {
  std::atomic<std::size_t> bytes = 0;
  std::shared_ptr<StoreMeter> all = nullptr;  // an owner's: the whole store's

  void add(std::size_t more) {
    bytes += more;
    if (all) all->bytes += more;
  }
  void remove(std::size_t gone) {
    bytes -= gone;
    if (all) all->bytes -= gone;
  }
};

// A response that clients may name again. JSON as text: it is read rarely, and its bytes are what is bounded.
struct StoredResponse {
  std::string id;
  std::string response;                          // the response object
  std::string input, output;                     // arrays of items: what this request brought, what was answered
  std::shared_ptr<const StoredResponse> before;  // what previous_response_id named
  std::shared_ptr<StoreMeter> meter = nullptr;   // its owner's: counts this while it lives

  StoredResponse() = default;
  ~StoredResponse();  // a long conversation is taken apart one by one, not by recursion
  StoredResponse(const StoredResponse&) = delete;
  StoredResponse& operator=(const StoredResponse&) = delete;
  std::size_t bytes() const { return sizeof *this + id.size() + response.size() + input.size() + output.size(); }
};

struct StoreLimits {
  std::size_t max_responses = 4096;
  std::size_t max_bytes = std::size_t{256} << 20;
};

// The responses kept for `previous_response_id` and GET; each is visible to the owner that made it and nobody else.
// Over a limit, the owner whose responses take most loses what it used longest ago. A conversation whose older
// responses were dropped goes on: they live, and count, as long as a newer one is kept. Thread-safe.
class ResponseStore {
 public:
  using Kept = std::shared_ptr<const StoredResponse>;
  explicit ResponseStore(StoreLimits limits = {});

  void put(std::string_view owner, std::shared_ptr<StoredResponse> response);
  // nullptr: never there, dropped, or another's. Counts as a use.
  Kept find(std::string_view owner, std::string_view id);
  bool erase(std::string_view owner, std::string_view id);

  std::size_t responses() const;
  std::size_t bytes() const { return meter_->bytes; }

 private:
  struct Shelf {
    std::list<Kept> by_use;                                                 // newest first
    std::unordered_map<std::string_view, std::list<Kept>::iterator> by_id;  // keys live in the responses
    std::shared_ptr<StoreMeter> meter;
  };
  void drop(Shelf& shelf, std::list<Kept>::iterator entry);
  void make_room();

  const StoreLimits limits_;
  const std::shared_ptr<StoreMeter> meter_ = std::make_shared<StoreMeter>();
  mutable std::mutex mutex_;
  std::map<std::string, Shelf, std::less<>> shelves_;  // by owner
  std::size_t responses_ = 0;
};

}  // namespace baltoro::server
