/* Preloaded, it makes a program look as if it had nothing to hook: what walks over the loaded objects finds none. */
#define _GNU_SOURCE
#include <link.h>

int dl_iterate_phdr(int (*visit)(struct dl_phdr_info *, size_t, void *), void *context) {
    (void)visit;
    (void)context;
    return 0;
}
