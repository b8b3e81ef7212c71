#include "thread_groups.h"

#include <stdbool.h>
#include <string.h>

static bool is_digit(char character) {
    return character >= '0' && character <= '9';
}

/* The bytes of a character here that is there to be obeyed, not read: controls, line ends and changes of direction of
 * Unicode, and what is no character; 0: another one. */
static size_t unprintable(const char *at) {
    const uint8_t *text = (const uint8_t *)at;
    if (text[0] < 0x20 || text[0] == 0x7f) {
        return 1;
    }
    if (text[0] == 0xc2 && text[1] >= 0x80 && text[1] < 0xa0) {
        return 2;
    }
    bool is_order = (text[0] == 0xe2 && text[1] == 0x80 && text[2] >= 0xa8 && text[2] <= 0xae) ||
                    (text[0] == 0xe2 && text[1] == 0x81 && text[2] >= 0xa6 && text[2] <= 0xa9) ||
                    (text[0] == 0xef && text[1] == 0xbf && text[2] >= 0xbe);
    return is_order ? 3 : 0;
}

static void make_name(const char *name, char *to) {
    const char *end = to + GS_NAME_BYTES;
    while (*name != '\0') {
        const char *from = name;
        size_t bytes = 1;
        size_t left_out = unprintable(name);
        if (left_out > 0) {
            name += left_out;
            from = "\xef\xbf\xbd";
            bytes = 3;
        } else if (is_digit(*name)) {
            bytes = strspn(name, "0123456789");
            name += bytes;
            if (*name == '\0' || strncmp(name, " (", 2) == 0) {
                from = "*";
                bytes = 1;
            }
        } else {
            while (((uint8_t)name[bytes] & 0xc0) == 0x80) {
                bytes++;
            }
            name += bytes;
        }
        if (bytes > (size_t)(end - to)) {
            break;
        }
        memcpy(to, from, bytes);
        to += bytes;
    }
    *to = '\0';
}

void gs_thread_groups_init(gs_thread_groups *self) {
    memset(self, 0, sizeof *self);
    memcpy(self->names[GS_GROUP_UNNAMED], "(unnamed)", sizeof "(unnamed)");
    memcpy(self->names[GS_GROUP_OTHERS], "(others)", sizeof "(others)");
}

uint32_t gs_thread_groups_of(gs_thread_groups *self, const char *name) {
    char wanted[GS_NAME_BYTES + 1];
    make_name(name, wanted);
    if (wanted[0] == '\0') {
        return GS_GROUP_UNNAMED;
    }
    uint32_t group = 0;
    while (group < GS_GROUP_OTHERS && self->names[group][0] != '\0' && strcmp(self->names[group], wanted) != 0) {
        group++;
    }
    if (group < GS_GROUP_OTHERS && self->names[group][0] == '\0') {
        memcpy(self->names[group], wanted, sizeof wanted);
    }
    return group;
}
