// The ABI is what the headers say: C11 compiles them, abi_dump lists everything in them, and libjindou.so exports exactly
// their functions.
#include <gtest/gtest.h>
#include <jindou/jindou.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

extern "C" int abi_c11_calls_the_library(void);

namespace {

std::string output_of(const std::string &command) {
  std::string output;
  FILE *pipe = popen(command.c_str(), "r");
  if (!pipe) return output;
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof buffer, pipe)) > 0;) output.append(buffer, got);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return output;
}

// All headers in one text, without comments.
std::string headers() {
  std::string text;
  for (const auto &entry : std::filesystem::directory_iterator(std::string(JINDOU_INCLUDE_DIR) + "/jindou")) {
    std::ifstream file(entry.path());
    EXPECT_TRUE(file.good()) << entry.path();
    std::stringstream content;
    content << file.rdbuf();
    text += content.str();
  }
  for (size_t begin; (begin = text.find("/*")) != std::string::npos;)
    text.erase(begin, text.find("*/", begin) + 2 - begin);
  return text;
}

std::set<std::string> matches(const std::string &text, const std::string &pattern) {
  const std::regex regex(pattern);
  std::set<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) found.insert((*it)[1]);
  return found;
}

const std::string &dump() {
  static const std::string text = output_of(JINDOU_ABI_DUMP);
  return text;
}

// The members of the top-level object `name` of the dump, four spaces in.
std::set<std::string> dumped(const std::string &name) {
  const size_t begin = dump().find("\n  \"" + name + "\": {");
  return matches(dump().substr(begin, dump().find("\n  }", begin) - begin), "\n    \"(\\w+)\"");
}

TEST(Abi, c11_compiles_and_calls) { EXPECT_EQ(abi_c11_calls_the_library(), 0); }

TEST(Abi, dump_lists_every_function) {
  const std::set<std::string> declared = matches(headers(), "JD_API [^;]*?(jd_\\w+)\\(");
  EXPECT_GT(declared.size(), 40u);
  EXPECT_EQ(dumped("functions"), declared);
}

TEST(Abi, library_exports_every_function_and_nothing_else) {
  const std::set<std::string> exported =
      matches(output_of(JINDOU_NM " -D --defined-only " JINDOU_LIBRARY), "\\w+ \\w (\\S+)");
  EXPECT_EQ(exported, dumped("functions"));
}

TEST(Abi, dump_lists_every_constant) {
  const std::string text = headers();
  std::set<std::string> declared = matches(text, "(JD_\\w+) = \\d+");
  for (const std::string &macro : matches(text, "#define (JD_\\w+) \\d+")) declared.insert(macro);
  EXPECT_GT(declared.size(), 30u);
  EXPECT_EQ(dumped("constants"), declared);
}

TEST(Abi, dump_lists_every_struct_and_field) {
  const std::string text = headers();
  EXPECT_EQ(dumped("structs"), matches(text, "typedef struct (jd_\\w+)"));
  for (const std::string &name : dumped("structs")) {
    size_t begin = text.find("typedef struct " + name + " {");
    const std::string body = text.substr(begin, text.find("} " + name, begin) - begin);
    begin = dump().find("\"" + name + "\": {\"size\"");
    const std::string fields = dump().substr(begin, dump().find("}}", begin) - begin);
    EXPECT_EQ(matches(fields, "\n      \"(\\w+)\""), matches(body, "(\\w+)(?:\\[\\w+\\])?;")) << name;
    // An element of an array has its array's size of elements.
    if (name == "jd_key_function" || name == "jd_table_keys") continue;
    EXPECT_NE(fields.find("\"struct_size\": {\"offset\": 0, \"size\": 4}"), std::string::npos) << name;
  }
}

// A hole in a struct would be bytes that nobody sets.
TEST(Abi, structs_have_no_holes) {
  const std::string &text = dump();
  const std::regex field("\"offset\": (\\d+), \"size\": (\\d+)");
  for (const std::string &name : dumped("structs")) {
    const size_t begin = text.find("\"" + name + "\": {\"size\"");
    const std::string one = text.substr(begin, text.find("}}", begin) - begin);
    long expected = 0;
    for (std::sregex_iterator it(one.begin(), one.end(), field), end; it != end; ++it) {
      EXPECT_EQ(std::stol((*it)[1]), expected) << name;
      expected = std::stol((*it)[1]) + std::stol((*it)[2]);
    }
    std::smatch size;
    ASSERT_TRUE(std::regex_search(one, size, std::regex("\"size\": (\\d+), \"align\"")));
    EXPECT_EQ(std::stol(size[1]), expected) << name;
  }
}

}  // namespace
