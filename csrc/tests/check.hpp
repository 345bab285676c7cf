// A small test harness: TEST(name) { CHECK(...); } registers itself, main() runs all or those named on its command
// line, and a failed check ends its test, not the program.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace recsys::test {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

struct Registration {
  Registration(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
  std::ostringstream message;
  message << file << ":" << line << ": " << what;
  throw Failure(message.str());
}

}  // namespace recsys::test

#define TEST(name)                                                                \
  static void test_##name();                                                      \
  static const ::recsys::test::Registration register_##name{#name, &test_##name}; \
  static void test_##name()

#define CHECK(condition)                                                              \
  do {                                                                                \
    if (!(condition)) ::recsys::test::fail(__FILE__, __LINE__, "false: " #condition); \
  } while (false)

// The statement must throw `Error` with `text` somewhere in its message.
#define CHECK_THROWS(statement, Error, text)                                                           \
  do {                                                                                                 \
    bool thrown_ = false;                                                                              \
    try {                                                                                              \
      statement;                                                                                       \
    } catch (const Error& error_) {                                                                    \
      thrown_ = true;                                                                                  \
      if (std::string(error_.what()).find(text) == std::string::npos)                                  \
        ::recsys::test::fail(__FILE__, __LINE__, std::string("unexpected message: ") + error_.what()); \
    }                                                                                                  \
    if (!thrown_) ::recsys::test::fail(__FILE__, __LINE__, "did not throw " #Error ": " #statement);   \
  } while (false)
