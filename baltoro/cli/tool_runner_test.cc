// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/tool_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "baltoro/base/json.h"
#include "baltoro/base/utf8.h"

namespace baltoro::cli {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// A box with one tool "t" that runs a shell script.
Toolbox box(const std::string& script, ToolCommand command = {}) {
  Toolbox toolbox;
  toolbox.tools.push_back({.name = "t", .declaration = {}, .strict = false});
  command.command = {"sh", "-c", script};
  toolbox.commands.push_back(command);
  toolbox.directory = "/";
  return toolbox;
}

ToolResult call(const Toolbox& toolbox, const std::string& arguments = "{}", const std::string& name = "t") {
  return run_tool(toolbox, {.id = "functions.t:0", .name = name, .arguments = arguments}, -1);
}

TEST(ToolRunner, ArgumentsInResultOut) {
  const auto result = call(box("read -r line; printf 'got %s\\n\\n' \"$line\""), R"({ "key" : "A B" })");
  EXPECT_FALSE(result.failed);
  EXPECT_EQ(result.text, R"(got {"key":"A B"})");
}

TEST(ToolRunner, ANewlineInsideAnArgumentStaysOneLine) { EXPECT_EQ(call(box("wc -l"), R"({"key":"a\nb"})").text, "1"); }

TEST(ToolRunner, RunsInTheFoldersOfItsFile) { EXPECT_EQ(call(box("pwd")).text, "/"); }

TEST(ToolRunner, FailuresAreTextForTheModel) {
  auto result = call(box("echo partly; echo why >&2; exit 3"));
  EXPECT_TRUE(result.failed);
  EXPECT_EQ(result.text, "error: the tool ended with status 3\nwhy\npartly");

  result = call(box("true"), "{}", "other");
  EXPECT_TRUE(result.failed);
  EXPECT_EQ(result.text, "error: there is no tool \"other\"; declared are: t");
  EXPECT_THAT(call(Toolbox{}).text, HasSubstr("no tools are declared"));

  for (const char* arguments : {"", "{", "[1]", "\"x\"", "{\"a\":1,\"a\":2}", "{\"a\":\"\xff\"}"}) {
    result = call(box("echo ran"), arguments);
    EXPECT_TRUE(result.failed) << arguments;
    EXPECT_THAT(result.text, StartsWith("error: the arguments ")) << arguments;
  }
}

TEST(ToolRunner, AMissingProgramIsToldToTheModel) {
  Toolbox toolbox = box("");
  toolbox.commands[0].command = {"./no-such-tool"};
  const auto result = call(toolbox);
  EXPECT_TRUE(result.failed);
  EXPECT_THAT(result.text, HasSubstr("./no-such-tool"));
}

TEST(ToolRunner, TimeIsLimited) {
  const auto result = call(box("echo begun; sleep infinity", {.command = {}, .timeout_seconds = 0.2}));
  EXPECT_TRUE(result.failed);
  EXPECT_EQ(result.text, "error: the tool took longer than 0.2 s\nbegun");
}

TEST(ToolRunner, OutputIsCutAtAWholeCharacter) {
  const auto result =
      call(box("i=0; while [ $i -lt 100 ]; do printf 'ä'; i=$((i+1)); done", {.command = {}, .max_output_bytes = 11}));
  EXPECT_FALSE(result.failed);
  EXPECT_EQ(result.text, "äääää\n[cut: the output was longer than 11 bytes]");
}

TEST(ToolRunner, AFloodEnds) {
  const auto result = call(box("exec yes", {.command = {}, .max_output_bytes = 4}));
  EXPECT_TRUE(result.failed);
  EXPECT_THAT(result.text, HasSubstr("without end"));
}

TEST(ToolRunner, BytesThatAreNoTextAreReplaced) {
  const auto result = call(box("printf 'a\\377b'"));
  EXPECT_TRUE(utf8_valid(result.text));
  EXPECT_EQ(result.text,
            "a\xef\xbf\xbd"
            "b");
}

TEST(ToolRunner, AToolThatReadsNothingIsFine) {
  const std::string big = "{\"a\":\"" + std::string(1 << 20, 'x') + "\"}";
  EXPECT_EQ(call(box("exec 0<&-; sleep 0.05; echo ok"), big).text, "ok");
}

TEST(ToolRunner, TheExampleToolAnswersAsTheModelWasTaught) {
  const auto toolbox = load_toolbox(BALTORO_SOURCE_DIR "/examples/ledger/tools.json");
  ASSERT_TRUE(toolbox.ok()) << toolbox.error().message;
  EXPECT_FALSE(toolbox->examples.empty());
  EXPECT_EQ(json::dump(toolbox->tools.at(0).declaration, {.sort_keys = true}),
            R"({"function":{"description":"Read one ledger entry","name":"get","parameters":{"properties":)"
            R"({"key":{"type":"string"}},"required":["key"],"type":"object"}},"type":"function"})");
  EXPECT_EQ(call(*toolbox, R"({"key":"AIR"})", "get").text, R"({"next":"EIW","value":96})");
  EXPECT_EQ(call(*toolbox, R"({ "key" : "AIR" })", "get").text, R"({"next":"EIW","value":96})");
  for (const char* arguments : {R"({"key":"AAA"})", R"({"key":"A"})", R"({"key":"*"})", R"({})", R"({"key":7})"}) {
    EXPECT_EQ(call(*toolbox, arguments, "get").text, R"({"error":"not found"})") << arguments;
  }
}

TEST(ToolFile, WhatIsWrongIsNamed) {
  const auto message = [](const std::string& text) {
    const auto toolbox = parse_toolbox(text, "/");
    return toolbox.ok() ? std::string("ok") : toolbox.error().message;
  };
  const std::string function = R"("type":"function","function":{"name":"f"})";
  EXPECT_EQ(message("[{" + function + R"(,"command":["true"]}])"), "ok");
  EXPECT_EQ(message("[]"), "ok");
  EXPECT_THAT(message("7"), HasSubstr("tools: an array needed, found an integer"));
  EXPECT_THAT(message("{}"), HasSubstr("tools: an array needed, found nothing"));
  EXPECT_THAT(message(R"({"tools":[],"trie":[]})"), HasSubstr("\"trie\" is unknown"));
  EXPECT_THAT(message(R"({"tools":[],"try":[1]})"), HasSubstr("try: an array of strings needed"));
  EXPECT_THAT(message("[3]"), HasSubstr("tools[0]: an object needed"));
  EXPECT_THAT(message("[{}]"), HasSubstr("tools[0].type: \"function\" needed, found nothing"));
  EXPECT_THAT(message(R"([{"type":"function","function":{"name":"a b"},"command":["true"]}])"), HasSubstr("1 to 64"));
  EXPECT_THAT(message(R"([{"type":"function","function":{"name":"a","parameters":[]},"command":["true"]}])"),
              HasSubstr("function.parameters: an object needed"));
  EXPECT_THAT(message("[{" + function + "}]"), HasSubstr("tools[0].command: an array of strings needed"));
  EXPECT_THAT(message("[{" + function + R"(,"command":[]}])"), HasSubstr("a program to run is needed"));
  EXPECT_THAT(message("[{" + function + R"(,"command":["a\u0000b"]}])"), HasSubstr("NUL"));
  EXPECT_THAT(message("[{" + function + R"(,"command":["a"],"cwd":"/"}])"), HasSubstr("\"cwd\" is unknown"));
  for (const char* time : {"0", "-1", "1e9", "\"5\""}) {
    EXPECT_THAT(message("[{" + function + R"(,"command":["a"],"timeout_s":)" + time + "}]"), HasSubstr("timeout_s"));
  }
  EXPECT_THAT(message("[{" + function + R"(,"command":["a"],"max_output_bytes":1e12}])"),
              HasSubstr("max_output_bytes"));
  const std::string one = "{" + function + R"(,"command":["true"]})";
  EXPECT_THAT(message("[" + one + "," + one + "]"), HasSubstr("declared twice"));
  EXPECT_NE(message("[" + std::string(100000, '[')), "ok");
  EXPECT_EQ(load_toolbox("/no/such/file").error().code, Errc::kNotFound);
}

}  // namespace
}  // namespace baltoro::cli
