/* The C interface of edgelm-native: runs an INT8 encoder of an edgelm bundle by its program (the bundle's file
 * `native.program`) and its weights (`weights.bin`), and makes token ids of texts by its tokenizer
 * (`native.tokenizer`). Plain C, no dependency. */
#ifndef EDGELM_NATIVE_H
#define EDGELM_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define EDGELM_NATIVE_API __declspec(dllexport)
#else
#define EDGELM_NATIVE_API __attribute__((visibility("default")))
#endif

/* Codes: 0 is success; all else comes with a message. */
enum {
  EDGELM_NATIVE_OK = 0,
  EDGELM_NATIVE_BAD_PROGRAM = 1, /* program or weights are damaged, or newer than this library */
  EDGELM_NATIVE_BAD_INPUT = 2,   /* ids, lengths or arguments that the program cannot take */
  EDGELM_NATIVE_FAILED = 3,      /* memory or threads ran out */
  EDGELM_NATIVE_UNKNOWN_TEXT = 4 /* a text has a character that versions of Unicode differ in */
};

typedef struct edgelm_native_model edgelm_native_model;

/* The version of this interface, which changes where a function does. */
EDGELM_NATIVE_API int edgelm_native_version(void);

/* The instruction sets that run here, best first, separated by spaces; the last is "reference". */
EDGELM_NATIVE_API const char *edgelm_native_instruction_sets(void);

/* Makes a model. `weights` must stay as it is as long as the model lives: tables are read where they lie; matrices are
 * copied into the order that products read. `set`: an instruction set by its name; NULL: the best one here. */
EDGELM_NATIVE_API int edgelm_native_load(const void *program, size_t program_bytes, const void *weights,
                                         size_t weights_bytes, const char *set, edgelm_native_model **model,
                                         char *message, size_t message_bytes);

EDGELM_NATIVE_API void edgelm_native_free(edgelm_native_model *model);

/* The instruction set that a model runs by. */
EDGELM_NATIVE_API const char *edgelm_native_set(const edgelm_native_model *model);

/* The outputs: how many, and of each its name, its numbers a row, and whether it has a row for each token (1) or for
 * each sequence (0). `width` and `per_token` may be NULL. NULL for an index out of range. */
EDGELM_NATIVE_API int edgelm_native_outputs(const edgelm_native_model *model);
EDGELM_NATIVE_API const char *edgelm_native_output(const edgelm_native_model *model, int index, size_t *width,
                                                   int *per_token);

/* Runs a batch. `ids`, `mask` (1 where a token is, 0 where padding) and `types` are (batch, tokens), row by row; `mask`
 * NULL: no padding; `types` NULL: all 0. `outputs`: for each output a place for all its numbers, of which `sizes` says
 * the count. Calls from several threads wait for each other. `threads`: at most as many compute; the results are the
 * same for any number. */
EDGELM_NATIVE_API int edgelm_native_run(edgelm_native_model *model, const int64_t *ids, const int64_t *mask,
                                        const int64_t *types, size_t batch, size_t tokens, int threads,
                                        float *const *outputs, const size_t *sizes, char *message,
                                        size_t message_bytes);

typedef struct edgelm_native_tokenizer edgelm_native_tokenizer;

/* Makes a tokenizer of a bundle's `native.tokenizer`, which need not stay. */
EDGELM_NATIVE_API int edgelm_native_tokenizer_load(const void *file, size_t bytes, edgelm_native_tokenizer **tokenizer,
                                                   char *message, size_t message_bytes);

EDGELM_NATIVE_API void edgelm_native_tokenizer_free(edgelm_native_tokenizer *tokenizer);

/* The longest sequence in tokens, and the id and type that fill up a batch behind shorter ones. Each may be NULL. */
EDGELM_NATIVE_API void edgelm_native_tokenizer_settings(const edgelm_native_tokenizer *tokenizer, size_t *longest,
                                                        int64_t *pad_id, int64_t *pad_type);

/* Writes the ids and types of a text, or of a pair of texts, with their special tokens; too many tokens are cut to the
 * longest sequence, as edgelm's runtime cuts them. `pair` NULL: one text. Texts are UTF-8, of so many bytes. There is
 * room for `room` of each; as many as the longest sequence are always enough. Returns how many were written, or a code
 * with a minus: -EDGELM_NATIVE_BAD_INPUT for what is no UTF-8, or too little room. Any number of threads may call it at
 * once. */
EDGELM_NATIVE_API int64_t edgelm_native_tokenize(const edgelm_native_tokenizer *tokenizer, const char *text,
                                                 size_t text_bytes, const char *pair, size_t pair_bytes, int64_t *ids,
                                                 int64_t *types, size_t room);

#ifdef __cplusplus
}
#endif
#endif
