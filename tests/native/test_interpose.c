/* sources: probe/interpose.c */
/* variants: plain asan */
/* What a program calls through its slots, in one linked as the compiler does by default. */
#include "interpose_cases.h"
