#include "frames.h"

#include <errno.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "codes.h"

#if PY_VERSION_HEX >= 0x030B0000
#define Py_BUILD_CORE 1
#if PY_VERSION_HEX >= 0x030E0000
#include <internal/pycore_interpframe_structs.h>
#else
#include <internal/pycore_frame.h>
#endif
typedef struct _PyInterpreterFrame frame;
#else
#include <frameobject.h>
typedef PyFrameObject frame;
#endif

/* What is different between versions: where the innermost frame is found, and four fields of a frame. The functions read
 * nothing beyond the frame itself, so that they work on a copy of it too. */
#if PY_VERSION_HEX >= 0x030D0000 /* 3.13 */
#define TOP_FIELD offsetof(PyThreadState, current_frame)
#elif PY_VERSION_HEX >= 0x030B0000 /* 3.11 */
#define TOP_FIELD   offsetof(PyThreadState, cframe)
#define TOP_CONTEXT offsetof(_PyCFrame, current_frame)
#else
#define TOP_FIELD offsetof(PyThreadState, frame)
#endif

static const frame *previous_of(const frame *self) {
#if PY_VERSION_HEX >= 0x030B0000
    return self->previous;
#else
    return self->f_back;
#endif
}

/* NULL for the frames that the interpreter puts between calls from C. */
static PyCodeObject *code_of(const frame *self) {
#if PY_VERSION_HEX >= 0x030C0000
    if (self->owner > FRAME_OWNED_BY_FRAME_OBJECT) {
        return NULL;
    }
#endif
#if PY_VERSION_HEX >= 0x030E0000
    return (PyCodeObject *)(self->f_executable.bits & ~(uintptr_t)3); /* without the reference's tag */
#elif PY_VERSION_HEX >= 0x030D0000
    return (PyCodeObject *)self->f_executable;
#else
    return self->f_code;
#endif
}

#if PY_VERSION_HEX >= 0x030B0000
/* As a number: what was read while it changed may be no address of a code object. */
static uintptr_t first_instruction(const PyCodeObject *code) {
    return (uintptr_t)code + offsetof(PyCodeObject, co_code_adaptive);
}
#endif

static int32_t position_of(const frame *self, const PyCodeObject *code) {
#if PY_VERSION_HEX >= 0x030D0000
    return (int32_t)((uintptr_t)self->instr_ptr - first_instruction(code));
#elif PY_VERSION_HEX >= 0x030B0000
    return (int32_t)((uintptr_t)self->prev_instr - first_instruction(code));
#else
    (void)code;
    return self->f_lasti * (int32_t)sizeof(_Py_CODEUNIT);
#endif
}

size_t gs_frames_walk(PyThreadState *thread, gs_raw_frame *frames, size_t room) {
    if (thread == NULL) {
        return 0;
    }
    const char *at = (const char *)thread + TOP_FIELD;
    const frame *top = *(const frame *const *)at;
#ifdef TOP_CONTEXT
    top = *(const frame *const *)((const char *)top + TOP_CONTEXT);
#endif
    size_t count = 0;
    for (const frame *here = top; here != NULL && count < room; here = previous_of(here)) {
        PyCodeObject *code = code_of(here);
        if (code != NULL && Py_TYPE(code) == &PyCode_Type) {
            frames[count++] = (gs_raw_frame){gs_code_pin(code), position_of(here, code)};
        }
    }
    return count;
}

static PyObject *name_of(const PyCodeObject *code) {
#if PY_VERSION_HEX >= 0x030B0000
    return code->co_qualname;
#else
    return code->co_name;
#endif
}

/* The line of an instruction. PyCode_Addr2Line looks first at what debuggers and coverage tools have attached to a code
 * object, and that may change at any time; so it is given a copy that has nothing attached. */
static int line_in(PyCodeObject *copy, PyObject *line_table, int32_t position) {
    copy->co_linetable = line_table;
#if PY_VERSION_HEX >= 0x030C0000
    copy->_co_monitoring = NULL;
#elif PY_VERSION_HEX >= 0x030B0000
    copy->_co_linearray = NULL;
#endif
    int line = PyCode_Addr2Line(copy, position);
    return line > 0 ? line : 0;
}

static size_t put_utf8(char *to, uint32_t character) {
    if (character < 0x80) {
        to[0] = (char)character;
        return 1;
    }
    if (character < 0x800) {
        to[0] = (char)(0xC0 | character >> 6);
        to[1] = (char)(0x80 | (character & 0x3F));
        return 2;
    }
    if (character < 0x10000) {
        to[0] = (char)(0xE0 | character >> 12);
        to[1] = (char)(0x80 | (character >> 6 & 0x3F));
        to[2] = (char)(0x80 | (character & 0x3F));
        return 3;
    }
    to[0] = (char)(0xF0 | (character >> 18 & 0x07));
    to[1] = (char)(0x80 | (character >> 12 & 0x3F));
    to[2] = (char)(0x80 | (character >> 6 & 0x3F));
    to[3] = (char)(0x80 | (character & 0x3F));
    return 4;
}

static void to_utf8(const void *data, unsigned kind, size_t length, char *to, size_t room) {
    size_t used = 0;
    for (size_t i = 0; i < length && used + 4 < room; i++) {
        uint32_t character = kind == 1   ? ((const uint8_t *)data)[i]
                             : kind == 2 ? ((const uint16_t *)data)[i]
                                         : ((const uint32_t *)data)[i];
        used += put_utf8(to + used, character);
    }
    to[used] = '\0';
}

/* Of a str that cannot go away. */
static void copy_text(PyObject *text, char *to) {
    to[0] = '\0';
    if (text != NULL && PyUnicode_Check(text) && PyUnicode_IS_COMPACT(text)) {
        to_utf8(PyUnicode_DATA(text), PyUnicode_KIND(text), (size_t)PyUnicode_GET_LENGTH(text), to, GS_TEXT_BYTES);
    }
}

bool gs_frames_describe(const gs_raw_frame *raw, gs_code_copy *code, uint32_t *line) {
    PyCodeObject *pinned = gs_code_at(raw->code);
    if (pinned == NULL) {
        return false;
    }
    code->number = raw->code;
    code->first_line = pinned->co_firstlineno;
    code->flags = (uint32_t)pinned->co_flags;
    copy_text(name_of(pinned), code->name);
    copy_text(pinned->co_filename, code->file);
    PyCodeObject copy = *pinned;
    *line = (uint32_t)line_in(&copy, pinned->co_linetable, raw->position);
    return true;
}

/* The sampler's view of memory: whole pages, since frames lie close together and a call costs more than a page. Valid
 * for one stack. */
#define PAGE             UINT64_C(4096)
#define PAGES_KEPT       8u
#define MAX_TRIES        3u
#define MAX_CHAIN        4096u       /* frames looked at, a bound for chains that were torn into a ring */
#define LINE_TABLE_BYTES (64 * 1024) /* of a function of some 10,000 lines; a longer one's lines are unknown */

static struct {
    uintptr_t address;
    uint8_t bytes[PAGE];
} pages[PAGES_KEPT];
static unsigned pages_used;
static unsigned pages_next;

static pid_t own_process; /* getpid is a system call */

static bool read_process(uintptr_t from, void *to, size_t bytes) {
    struct iovec here = {to, bytes};
    struct iovec there = {(void *)from, bytes}; /* NOLINT(performance-no-int-to-ptr): it need not be mapped */
    return process_vm_readv(own_process, &here, 1, &there, 1, 0) == (ssize_t)bytes;
}

static const uint8_t *page_at(uintptr_t address) {
    for (unsigned i = 0; i < pages_used; i++) {
        if (pages[i].address == address) {
            return pages[i].bytes;
        }
    }
    unsigned slot = pages_used < PAGES_KEPT ? pages_used : pages_next++ % PAGES_KEPT;
    pages[slot].address = 0;
    if (!read_process(address, pages[slot].bytes, PAGE)) {
        return NULL;
    }
    pages[slot].address = address;
    if (slot == pages_used) {
        pages_used++;
    }
    return pages[slot].bytes;
}

static bool peek(uintptr_t from, void *to, size_t bytes) {
    uint8_t *at = to;
    while (bytes > 0) {
        size_t offset = from & (PAGE - 1);
        size_t step = PAGE - offset < bytes ? PAGE - offset : bytes;
        const uint8_t *page = page_at(from - offset);
        if (page == NULL) {
            return false;
        }
        memcpy(at, page + offset, step);
        at += step;
        from += step;
        bytes -= step;
    }
    return true;
}

int gs_frames_readable(void) {
    own_process = getpid();
    uint64_t there = UINT64_C(0x67696c73636f7065), here = 0;
    errno = 0;
    if (read_process((uintptr_t)&there, &here, sizeof here)) {
        return here == there ? 0 : EIO;
    }
    return errno != 0 ? errno : EIO;
}

/* Codes that were copied, by address and by what was found there: an address that is used again for another code differs
 * in its strings' addresses, or its line, or its size. */
struct copied {
    uintptr_t code;
    const void *file, *name, *line_table;
    int first_line;
    Py_ssize_t size;
    uint32_t number;
};

static struct copied copies[GS_COPIED_CODES];
static uint32_t copies_made;
static bool readable; /* in this recording */

void gs_frames_forget(void) {
    readable = gs_frames_readable() == 0;
    memset(copies, 0, sizeof copies);
    copies_made = 0;
}

static bool peek_text(const void *text, char *to) {
    PyASCIIObject head;
    if (!peek((uintptr_t)text, &head, sizeof head) || Py_TYPE((PyObject *)&head) != &PyUnicode_Type ||
        !head.state.compact || head.length < 0) {
        return false;
    }
    size_t length = head.length < (Py_ssize_t)GS_TEXT_BYTES ? (size_t)head.length : GS_TEXT_BYTES;
    unsigned kind = head.state.kind;
    uint32_t characters[GS_TEXT_BYTES];
    uintptr_t data = (uintptr_t)text + (head.state.ascii ? sizeof(PyASCIIObject) : sizeof(PyCompactUnicodeObject));
    if ((kind != 1 && kind != 2 && kind != 4) || !peek(data, characters, length * kind)) {
        return false;
    }
    to_utf8(characters, kind, length, to, GS_TEXT_BYTES);
    return true;
}

static struct copied *copy_slot(const PyCodeObject *code, uintptr_t address) {
    uint32_t at = (uint32_t)((uint64_t)(address >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 40) % GS_COPIED_CODES;
    for (uint32_t tries = 0; tries < 16; tries++, at = (at + 1) % GS_COPIED_CODES) {
        struct copied *slot = &copies[at];
        if (slot->number == 0 || (slot->code == address && slot->file == (const void *)code->co_filename &&
                                  slot->name == name_of(code) && slot->line_table == (const void *)code->co_linetable &&
                                  slot->first_line == code->co_firstlineno && slot->size == Py_SIZE(code))) {
            return slot;
        }
    }
    return NULL; /* crowded: this code stays without a name */
}

/* The number of a code that may go away at any time, GS_NO_CODE if it did, or cannot be kept. */
static uint32_t copy_code(const PyCodeObject *code, uintptr_t address, gs_code_copied copied, void *context) {
    struct copied *slot = copy_slot(code, address);
    if (slot == NULL) {
        return GS_NO_CODE;
    }
    if (slot->number == 0) {
        gs_code_copy copy = {.number = GS_PINNED_CODES + copies_made + 1,
                             .first_line = code->co_firstlineno,
                             .flags = (uint32_t)code->co_flags};
        if (!peek_text(name_of(code), copy.name) || !peek_text(code->co_filename, copy.file)) {
            return GS_NO_CODE;
        }
        copies_made++;
        *slot = (struct copied){.code = address,
                                .file = code->co_filename,
                                .name = name_of(code),
                                .line_table = code->co_linetable,
                                .first_line = code->co_firstlineno,
                                .size = Py_SIZE(code),
                                .number = copy.number};
        copied(context, &copy);
    }
    return slot->number;
}

/* 0 if it cannot be told. */
static int32_t copied_line(PyCodeObject *code, int32_t position) {
    static alignas(PyBytesObject) uint8_t table[LINE_TABLE_BYTES];
    PyObject *line_table = (PyObject *)table;
    uintptr_t address = (uintptr_t)code->co_linetable;
    if (!peek(address, table, sizeof(PyBytesObject)) || Py_TYPE(line_table) != &PyBytes_Type) {
        return 0;
    }
    size_t bytes = offsetof(PyBytesObject, ob_sval) + (size_t)Py_SIZE(line_table) + 1;
    if (Py_SIZE(line_table) < 0 || bytes > sizeof table || !read_process(address, table, bytes)) {
        return 0;
    }
    return line_in(code, line_table, position);
}

static bool peek_top(const PyThreadState *thread, uintptr_t *top) {
    if (!peek((uintptr_t)thread + TOP_FIELD, top, sizeof *top)) {
        return false;
    }
#ifdef TOP_CONTEXT
    return *top != 0 && peek(*top + TOP_CONTEXT, top, sizeof *top);
#else
    return true;
#endif
}

/* A frame that has returned has forgotten its caller (3.10, where frames are objects that are used again). */
static bool has_returned(const frame *here) {
#if PY_VERSION_HEX >= 0x030B0000
    (void)here;
    return false;
#else
    return here->f_state == FRAME_RETURNED || here->f_state > FRAME_UNWINDING;
#endif
}

static bool peek_frame(const frame *here, gs_raw_frame *to, gs_code_copied copied, void *context, bool *skip) {
    const PyCodeObject *address = code_of(here);
    PyCodeObject code;
    *skip = address == NULL;
    if (*skip) {
        return true;
    }
    int32_t position = position_of(here, address);
    to->code = gs_code_find(address);
    to->position = position;
    if (to->code != GS_NO_CODE) {
        return true;
    }
    if (!peek((uintptr_t)address, &code, sizeof code)) {
        return false;
    }
    if (Py_TYPE(&code) != &PyCode_Type) {
        *skip = Py_TYPE(&code) == Py_TYPE(Py_None); /* where 3.13 has no code */
        return *skip;
    }
    to->code = copy_code(&code, (uintptr_t)address, copied, context);
    to->position = to->code == GS_NO_CODE ? 0 : copied_line(&code, position);
    return true;
}

/* `bottom` gets the address of the outermost frame that was reached. */
static size_t peek_stack(const PyThreadState *thread, gs_raw_frame *frames, size_t room, gs_code_copied copied,
                         void *context, uintptr_t *bottom) {
    pages_used = 0;
    *bottom = 0;
    uintptr_t at = 0;
    if (!peek_top(thread, &at)) {
        return 0;
    }
    size_t count = 0;
    for (unsigned seen = 0; at != 0; seen++) {
        /* Without the locals: what lies behind a frame need not be mapped. */
        alignas(frame) uint8_t copy[sizeof(frame)];
        const frame *here = (const frame *)(const void *)copy;
        bool skip = count == room;
        if (seen == MAX_CHAIN || !peek(at, copy, sizeof copy) || has_returned(here) ||
            (!skip && !peek_frame(here, &frames[count], copied, context, &skip))) {
            return 0;
        }
        count += !skip;
        *bottom = at;
        at = (uintptr_t)previous_of(here);
    }
    return count;
}

static uintptr_t peek_bottom(const PyThreadState *thread) {
    pages_used = 0;
    uintptr_t at = 0, bottom = 0;
    if (!peek_top(thread, &at)) {
        return 0;
    }
    for (unsigned seen = 0; at != 0 && seen < MAX_CHAIN; seen++) {
        alignas(frame) uint8_t copy[sizeof(frame)];
        if (!peek(at, copy, sizeof copy)) {
            return 0;
        }
        bottom = at;
        at = (uintptr_t)previous_of((const frame *)(const void *)copy);
    }
    return bottom;
}

size_t gs_frames_peek(const PyThreadState *thread, uintptr_t *outermost, gs_raw_frame *frames, size_t room,
                      gs_code_copied copied, void *context) {
    if (thread == NULL) {
        return 0;
    }
    for (unsigned tries = 0; tries < MAX_TRIES; tries++) {
        uintptr_t bottom = 0;
        size_t count = peek_stack(thread, frames, room, copied, context, &bottom);
        /* A frame that returns meanwhile is cut off from its caller: then the stack ends where no stack begins. */
        if (count > 0 && (bottom == *outermost || peek_bottom(thread) == bottom)) {
            *outermost = bottom;
            return count;
        }
    }
    return 0;
}

bool gs_frames_loop_runs(const PyThreadState *thread) {
    uintptr_t hook = 0;
    if (!readable) {
        return true;
    }
    return thread != NULL &&
           read_process((uintptr_t)thread + offsetof(PyThreadState, async_gen_firstiter), &hook, sizeof hook) &&
           hook != 0;
}
