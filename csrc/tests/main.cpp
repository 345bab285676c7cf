#include <cstdio>
#include <cstring>
#include <exception>

#include "tests/check.hpp"

int main(int argc, char** argv) {
  int n_run = 0;
  int n_failed = 0;
  for (const auto& test : recsys::test::tests()) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; ++i) wanted = wanted || std::strcmp(argv[i], test.name) == 0;
    if (!wanted) continue;
    ++n_run;
    try {
      test.run();
    } catch (const std::exception& error) {
      ++n_failed;
      std::printf("FAILED %s\n  %s\n", test.name, error.what());
    }
  }
  std::printf("%d test(s) run, %d failed\n", n_run, n_failed);
  return n_failed == 0 && n_run > 0 ? 0 : 1;
}
