// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/response_store.h"

#include <algorithm>
#include <utility>

namespace baltoro::server {

StoredResponse::~StoredResponse() {
  if (meter != nullptr) meter->remove(bytes());
  auto next = std::move(before);
  while (next != nullptr && next.use_count() == 1) {
    // Nobody else sees it: its own `before` may be taken before it goes.
    auto after = std::move(const_cast<StoredResponse&>(*next).before);
    next = std::move(after);
  }
}

ResponseStore::ResponseStore(StoreLimits limits) : limits_(limits) {}

void ResponseStore::put(std::string_view owner, std::shared_ptr<StoredResponse> response) {
  const std::lock_guard lock(mutex_);
  Shelf& shelf = shelves_.try_emplace(std::string(owner)).first->second;
  if (shelf.meter == nullptr) {
    shelf.meter = std::make_shared<StoreMeter>();
    shelf.meter->all = meter_;
  }
  response->meter = shelf.meter;
  response->meter->add(response->bytes());
  if (const auto known = shelf.by_id.find(response->id); known != shelf.by_id.end()) drop(shelf, known->second);
  shelf.by_use.push_front(std::move(response));
  ++responses_;
  shelf.by_id.emplace(shelf.by_use.front()->id, shelf.by_use.begin());
  make_room();
}

ResponseStore::Kept ResponseStore::find(std::string_view owner, std::string_view id) {
  const std::lock_guard lock(mutex_);
  const auto shelf = shelves_.find(owner);
  if (shelf == shelves_.end()) return nullptr;
  const auto entry = shelf->second.by_id.find(id);
  if (entry == shelf->second.by_id.end()) return nullptr;
  auto& by_use = shelf->second.by_use;
  by_use.splice(by_use.begin(), by_use, entry->second);
  return by_use.front();
}

bool ResponseStore::erase(std::string_view owner, std::string_view id) {
  const std::lock_guard lock(mutex_);
  const auto shelf = shelves_.find(owner);
  if (shelf == shelves_.end()) return false;
  const auto entry = shelf->second.by_id.find(id);
  if (entry == shelf->second.by_id.end()) return false;
  drop(shelf->second, entry->second);
  if (shelf->second.by_use.empty()) shelves_.erase(shelf);
  return true;
}

std::size_t ResponseStore::responses() const {
  const std::lock_guard lock(mutex_);
  return responses_;
}

void ResponseStore::drop(Shelf& shelf, std::list<Kept>::iterator entry) {
  shelf.by_id.erase((*entry)->id);
  shelf.by_use.erase(entry);
  --responses_;
}

void ResponseStore::make_room() {
  while (!shelves_.empty() && (responses_ > limits_.max_responses || meter_->bytes > limits_.max_bytes)) {
    const auto largest = std::ranges::max_element(shelves_, {}, [](const auto& entry) {
      return std::pair(entry.second.meter->bytes.load(), entry.second.by_use.size());
    });
    Shelf& shelf = largest->second;
    drop(shelf, std::prev(shelf.by_use.end()));
    if (shelf.by_use.empty()) shelves_.erase(largest);
  }
}

}  // namespace baltoro::server
