/* sources: probe/interpose.c */
/* variants: plain asan */
/* flags: -Wl,-z,now,-z,relro */
/* What a program calls through its slots, in one linked bound at start, slots read-only. */
#include "interpose_cases.h"
