// How C functions end: with a code, and for all but success a message. No exception leaves the library.
#pragma once

#include <cstring>
#include <new>

#include "edgelm_native.h"
#include "program.h"

inline int say(int code, const char *what, char *message, size_t bytes) {
  if (message && bytes > 0) {
    std::strncpy(message, what, bytes - 1);
    message[bytes - 1] = '\0';
  }
  return code;
}

template <class Action> int guarded(char *message, size_t bytes, Action action) {
  try {
    action();
    return say(EDGELM_NATIVE_OK, "", message, bytes);
  } catch (const Failure &failure) {
    return say(failure.code, failure.what(), message, bytes);
  } catch (const std::bad_alloc &) {
    return say(EDGELM_NATIVE_FAILED, "there is not enough memory", message, bytes);
  } catch (const std::exception &error) {
    return say(EDGELM_NATIVE_FAILED, error.what(), message, bytes);
  }
}
