// SPDX-License-Identifier: Apache-2.0
// The embedded page: what is in it, and how it is answered on the wire.
#include "baltoro/server/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include "baltoro/llm/scripted.h"
#include "baltoro/server/server.h"
#include "baltoro/server/test_connection.h"

namespace baltoro::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string file_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Request get(std::string path, Headers headers = {}) {
  Request request;
  request.method = "GET";
  request.path = std::move(path);
  request.headers = std::move(headers);
  return request;
}

const PageFile& index() { return *std::ranges::find(page_files(), "/", &PageFile::path); }

TEST(Page, HoldsEachFileOfTheFolderByteForByte) {
  std::set<std::string> names, etags;
  for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(BALTORO_SOURCE_DIR) / "web")) {
    names.insert(entry.path().filename().string());
  }
  for (const char* of_developers : {"README.md", "package.json"}) EXPECT_EQ(names.erase(of_developers), 1);
  for (const PageFile& file : page_files()) {
    const std::string name = file.path == "/" ? "index.html" : std::string(file.path.substr(6));
    EXPECT_EQ(names.erase(name), 1) << name;
    EXPECT_EQ(file.body, file_text(std::filesystem::path(BALTORO_SOURCE_DIR) / "web" / name)) << name;
    EXPECT_TRUE(etags.emplace(file.etag).second) << name;
    EXPECT_TRUE(file.etag.size() == 18 && file.etag.front() == '"' && file.etag.back() == '"') << file.etag;
  }
  EXPECT_TRUE(names.empty()) << *names.begin() << " is not embedded";
}

TEST(Page, NamesTypesThatBrowsersInsistOn) {
  const std::pair<const char*, const char*> expected[] = {{"/", "text/html; charset=utf-8"},
                                                          {"/page/app.js", "text/javascript; charset=utf-8"},
                                                          {"/page/base.css", "text/css; charset=utf-8"},
                                                          {"/page/icon.svg", "image/svg+xml"}};
  for (const auto& [path, type] : expected) {
    const auto response = page_response(get(path));
    ASSERT_TRUE(response.ok()) << path;
    EXPECT_EQ(response->content_type, type);
  }
  for (const PageFile& file : page_files()) EXPECT_FALSE(file.content_type.empty()) << file.path;
}

// Everything that a file of the page asks for must be in the page: no other server is ever asked.
TEST(Page, AsksForNothingFromOutside) {
  for (const PageFile& file : page_files()) {
    if (file.content_type == "image/svg+xml") continue;  // names the SVG namespace
    const std::string text(file.body);
    for (std::size_t at = 0; (at = text.find("://", at)) != std::string::npos; ++at) {
      const std::string around = text.substr(at < 8 ? 0 : at - 8, 40);
      EXPECT_THAT(around, testing::AnyOf(HasSubstr("http://www.w3.org/"), HasSubstr("https?:"))) << file.path;
    }
    for (std::size_t at = 0; (at = text.find("\"/page/", at)) != std::string::npos; ++at) {
      const std::string path = text.substr(at + 1, text.find('"', at + 1) - at - 1);
      EXPECT_TRUE(page_response(get(path)).ok()) << path;
    }
    for (std::size_t at = 0; (at = text.find("from './", at)) != std::string::npos; ++at) {
      const std::string path = "/page/" + text.substr(at + 8, text.find('\'', at + 8) - at - 8);
      EXPECT_TRUE(page_response(get(path)).ok()) << path;
    }
    EXPECT_THAT(text, Not(HasSubstr("innerHTML")));
    EXPECT_THAT(text, Not(HasSubstr("insertAdjacentHTML")));
  }
}

TEST(Page, AnswersUnchangedToItsOwnTag) {
  const std::string etag(index().etag);
  for (const std::string& tag : {etag, "W/" + etag, "\"other\" ,\t" + etag, std::string("*")}) {
    const auto response = page_response(get("/", {{"if-none-match", tag}}));
    ASSERT_TRUE(response.ok());
    EXPECT_EQ(response->status, 304) << tag;
    EXPECT_TRUE(response->body.empty());
  }
  for (const char* tag : {"\"other\"", "", ",", "W/", "\"\""}) {
    EXPECT_EQ(page_response(get("/", {{"if-none-match", tag}}))->status, 200) << tag;
  }
}

TEST(Page, KnowsNoOtherPaths) {
  for (const char* path :
       {"/page/", "/page/index.html", "/page/../", "/page/app.js/", "/page/%61pp.js", "/page//app.js"}) {
    const auto response = page_response(get(path));
    ASSERT_FALSE(response.ok()) << path;
    EXPECT_EQ(response.error().code, Errc::kNotFound);
  }
}

class PageOnTheWire : public ::testing::Test {
 protected:
  PageOnTheWire() : backend_({}) {
    ServerOptions options;
    options.api.keys = KeySet::of(plain_keys({"secret"}));
    server_ = *Server::start(std::move(options), backend_);
  }
  std::string exchange(const std::string& line, const std::string& fields = "Host: localhost\r\n") {
    TestConnection connection(server_->port());
    connection.send(line + " HTTP/1.1\r\n" + fields + "Connection: close\r\n\r\n");
    return connection.read_all();
  }

  llm::ScriptedBackend backend_;
  std::unique_ptr<Server> server_;
};

TEST_F(PageOnTheWire, NeedsNoKeyAndIsLockedDown) {
  const std::string answer = exchange("GET /");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(answer.ends_with("\r\n\r\n" + std::string(index().body)));
  EXPECT_THAT(answer, HasSubstr("Content-Security-Policy: default-src 'none'; script-src 'self'"));
  EXPECT_THAT(answer, HasSubstr("X-Content-Type-Options: nosniff\r\n"));
  EXPECT_THAT(answer, HasSubstr("X-Frame-Options: DENY\r\n"));
  EXPECT_THAT(answer, HasSubstr("Cache-Control: no-cache\r\n"));
  EXPECT_THAT(exchange("GET /?from=somewhere"), HasSubstr("200 OK"));
  EXPECT_THAT(exchange("GET /v1/models"), HasSubstr("401 Unauthorized"));
  EXPECT_THAT(exchange("GET /page/none.js"), HasSubstr("404 Not Found"));
}

TEST_F(PageOnTheWire, AnswersHeadWithoutABody) {
  const std::string head = exchange("HEAD /");
  EXPECT_TRUE(head.starts_with("HTTP/1.1 200 OK\r\n")) << head;
  EXPECT_THAT(head, HasSubstr("Content-Length: " + std::to_string(index().body.size()) + "\r\n"));
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
  EXPECT_THAT(exchange("HEAD /health"), HasSubstr("200 OK"));
}

TEST_F(PageOnTheWire, AnswersUnchangedWithoutALength) {
  const std::string etag(index().etag);
  const std::string answer = exchange("GET /", "Host: localhost\r\nIf-None-Match: " + etag + "\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 304 Not Modified\r\n")) << answer;
  EXPECT_THAT(answer, HasSubstr("ETag: " + etag + "\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("Content-Length")));
  EXPECT_THAT(answer, Not(HasSubstr("Content-Type:")));
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST_F(PageOnTheWire, KeepsTheConnectionBehindAnswersWithoutABody) {
  TestConnection connection(server_->port());
  const std::string etag(index().etag);
  connection.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: " +
                  etag + "\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_THAT(connection.read_until("\r\n\r\n"), HasSubstr("200 OK"));
  EXPECT_THAT(connection.read_until("\r\n\r\n"), testing::StartsWith("HTTP/1.1 304 "));
  EXPECT_THAT(connection.read_answer(), testing::AllOf(testing::StartsWith("HTTP/1.1 200 "), HasSubstr(R"("status")")));
}

TEST_F(PageOnTheWire, RefusesOtherMethodsAndHosts) {
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "PATCH"}) {
    for (const char* path : {"/", "/page/app.js"}) {
      const std::string answer = exchange(std::string(method) + " " + path, "Host: localhost\r\nContent-Length: 0\r\n");
      EXPECT_THAT(answer, HasSubstr("405 Method Not Allowed")) << method << path;
      EXPECT_THAT(answer, HasSubstr("Allow: GET, HEAD\r\n")) << method << path;
    }
  }
  EXPECT_THAT(exchange("GET /", "Host: evil.example\r\n"), HasSubstr("403 Forbidden"));
}

}  // namespace
}  // namespace baltoro::server
