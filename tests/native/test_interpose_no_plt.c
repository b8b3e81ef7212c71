/* sources: probe/interpose.c */
/* variants: plain asan */
/* flags: -fno-plt */
/* What a program calls through its slots, in one linked without a PLT: slots are in DT_RELA. */
#include "interpose_cases.h"
