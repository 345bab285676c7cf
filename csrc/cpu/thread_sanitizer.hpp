// RECSYS_THREAD_SANITIZER is defined in a build for ThreadSanitizer.  GCC says so by a macro of its own, Clang by a
// feature.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define RECSYS_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RECSYS_THREAD_SANITIZER 1
#endif
#endif
