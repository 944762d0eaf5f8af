// Runs a program on one batch in every instruction set that is here: replay PROGRAM BATCH TOKENS THREADS ID...
// Prints a line for each: its name, then the bits of its first output's numbers.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "edgelm_native.h"

int main(int count, char **arguments) {
  if (count < 5) return 2;
  std::ifstream file(arguments[1], std::ios::binary);
  const std::string program{std::istreambuf_iterator<char>(file), {}};
  const size_t batch = std::strtoul(arguments[2], nullptr, 10), tokens = std::strtoul(arguments[3], nullptr, 10);
  std::vector<int64_t> ids;
  for (int i = 5; i < count; i++) ids.push_back(std::strtol(arguments[i], nullptr, 10));
  if (ids.size() != batch * tokens) return 2;
  std::istringstream sets(edgelm_native_instruction_sets());
  for (std::string set; sets >> set;) {
    edgelm_native_model *model = nullptr;
    char message[200];
    if (edgelm_native_load(program.data(), program.size(), "", 1, set.c_str(), &model, message, sizeof message)) {
      std::fprintf(stderr, "%s\n", message);
      return 1;
    }
    size_t width = 0;
    int per_token = 0;
    edgelm_native_output(model, 0, &width, &per_token);
    std::vector<float> numbers(width * (per_token ? batch * tokens : batch));
    float *const outputs[] = {numbers.data()};
    const size_t sizes[] = {numbers.size()};
    if (edgelm_native_run(model, ids.data(), nullptr, nullptr, batch, tokens, std::atoi(arguments[4]), outputs, sizes,
                          message, sizeof message)) {
      std::fprintf(stderr, "%s\n", message);
      return 1;
    }
    std::printf("%s", set.c_str());
    for (float number : numbers) {
      uint32_t bits;
      std::memcpy(&bits, &number, sizeof bits);
      std::printf(" %08x", bits);
    }
    std::printf("\n");
    edgelm_native_free(model);
  }
}
