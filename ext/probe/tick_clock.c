#include "tick_clock.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"

#define SOURCE_FILE    "/sys/devices/system/clocksource/clocksource0/current_clocksource"
#define FAR_NS         GS_NS_PER_MS
/* From the first reading to the one that tells how fast the counter counts: reading both takes some 30 ns. */
#define MEASURE_NS     (10 * GS_NS_PER_MS)
/* Both are read within this, or something came in between. */
#define TOGETHER_TICKS UINT64_C(1000)
/* Off by more than this share of the time since the anchor: another machine's counter, to which we were moved. */
#define WRONG_SHARE    10000
#define COMPARED_TICKS (UINT64_C(1) << 31)

static bool kernel_trusts_counter(void) {
#ifdef __x86_64__
    char name[4] = "";
    int file = open(SOURCE_FILE, O_RDONLY | O_CLOEXEC);
    ssize_t bytes = file < 0 ? -1 : read(file, name, sizeof name);
    if (file >= 0) {
        close(file);
    }
    return bytes == (ssize_t)sizeof name && memcmp(name, "tsc\n", sizeof name) == 0;
#else
    return false;
#endif
}

void gs_tick_clock_init(gs_tick_clock *self) {
    *self = (gs_tick_clock){.is_usable = kernel_trusts_counter()};
}

int64_t gs_tick_clock_anchor(gs_tick_clock *self) {
    uint64_t before = gs_ticks();
    int64_t now_ns = gs_now_ns();
    uint64_t took = gs_ticks() - before;
    if (!self->is_usable || took > TOGETHER_TICKS) {
        return now_ns;
    }
    uint64_t ticks = before + took / 2;
    uint64_t since_ticks = ticks - self->anchor_ticks;
    int64_t since_ns = now_ns - self->anchor_ns;
    bool is_comparable = self->anchor_ns != 0 && since_ticks != 0 && since_ticks < COMPARED_TICKS;
    if (is_comparable && self->ns_per_tick == 0) {
        if (since_ns < MEASURE_NS) {
            return now_ns;
        }
        self->ns_per_tick = ((uint64_t)since_ns << 32) / since_ticks;
        self->far_ticks = ((uint64_t)FAR_NS << 32) / self->ns_per_tick;
    } else if (is_comparable) {
        int64_t off_ns = (int64_t)(since_ticks * self->ns_per_tick >> 32) - since_ns;
        int64_t allowed_ns = since_ns / WRONG_SHARE + GS_NS_PER_US;
        if (off_ns > allowed_ns || off_ns < -allowed_ns) {
            self->ns_per_tick = 0;
            self->far_ticks = 0;
        }
    }
    self->anchor_ticks = ticks;
    self->anchor_ns = now_ns;
    return now_ns;
}
