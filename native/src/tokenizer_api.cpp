#include "guarded.h"
#include "tokenizer/tokenizer.h"

struct edgelm_native_tokenizer : Tokenizer {
  using Tokenizer::Tokenizer;
};

extern "C" {

int edgelm_native_tokenizer_load(const void *file, size_t bytes, edgelm_native_tokenizer **tokenizer, char *message,
                                 size_t message_bytes) {
  return guarded(message, message_bytes, [&] {
    if (!file || !tokenizer) throw Failure(EDGELM_NATIVE_BAD_INPUT, "an argument is missing");
    *tokenizer = new edgelm_native_tokenizer(file, bytes);
  });
}

void edgelm_native_tokenizer_free(edgelm_native_tokenizer *tokenizer) { delete tokenizer; }

void edgelm_native_tokenizer_settings(const edgelm_native_tokenizer *tokenizer, size_t *longest, int64_t *pad_id,
                                      int64_t *pad_type) {
  if (longest) *longest = tokenizer->longest();
  if (pad_id) *pad_id = tokenizer->padding().id;
  if (pad_type) *pad_type = tokenizer->padding().type;
}

int64_t edgelm_native_tokenize(const edgelm_native_tokenizer *tokenizer, const char *text, size_t text_bytes,
                               const char *pair, size_t pair_bytes, int64_t *ids, int64_t *types, size_t room) {
  int64_t tokens = 0;
  const int code = guarded(nullptr, 0, [&] {
    if (!tokenizer || !text || !ids || !types) throw Failure(EDGELM_NATIVE_BAD_INPUT, "an argument is missing");
    const std::string_view second = pair ? std::string_view(pair, pair_bytes) : std::string_view();
    const size_t found = tokenizer->encode({text, text_bytes}, pair ? &second : nullptr, ids, types, room);
    tokens = static_cast<int64_t>(found);
  });
  return code ? -code : tokens;
}
}
