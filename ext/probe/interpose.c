#include "interpose.h"

#include <elf.h>
#include <link.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined __x86_64__
#define SLOT_IN_PLT R_X86_64_JUMP_SLOT
#define SLOT_IN_GOT R_X86_64_GLOB_DAT
#elif defined __aarch64__
#define SLOT_IN_PLT R_AARCH64_JUMP_SLOT
#define SLOT_IN_GOT R_AARCH64_GLOB_DAT
#else
#error "slots are known for x86-64 and aarch64"
#endif

/* The dynamic linker's tables name places in memory by number. */
static void *place(uintptr_t address) {
    return (void *)address; /* NOLINT(performance-no-int-to-ptr) */
}

struct visiting {
    gs_object_visit visit;
    void *context;
};

static int describe(struct dl_phdr_info *info, size_t info_bytes, void *context) {
    (void)info_bytes;
    const struct visiting *visiting = context;
    gs_object object = {.path = info->dlpi_name, .base = info->dlpi_addr, .start = UINTPTR_MAX};
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t at = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_DYNAMIC) {
            object.dynamic = place(at);
        } else if (header->p_type == PT_GNU_RELRO) {
            object.relro_start = at;
            object.relro_end = at + header->p_memsz;
        } else if (header->p_type == PT_LOAD) {
            object.start = at < object.start ? at : object.start;
            object.end = at + header->p_memsz > object.end ? at + header->p_memsz : object.end;
        }
    }
    return object.dynamic != NULL && visiting->visit(&object, visiting->context);
}

void gs_objects_visit(gs_object_visit visit, void *context) {
    struct visiting visiting = {visit, context};
    dl_iterate_phdr(describe, &visiting);
}

static int first_adds(struct dl_phdr_info *info, size_t info_bytes, void *context) {
    (void)info_bytes;
    *(unsigned long long *)context = info->dlpi_adds;
    return 1;
}

unsigned long long gs_objects_loaded(void) {
    unsigned long long adds = 0;
    dl_iterate_phdr(first_adds, &adds);
    return adds;
}

/* The tables of an object's dynamic segment. glibc has relocated the addresses in it, except in objects that it does not
 * own (the vdso). */
struct tables {
    const ElfW(Sym) * symbols;
    const char *names;
    const ElfW(Rela) * plt;
    size_t plt_bytes;
    const ElfW(Rela) * rela;
    size_t rela_bytes;
};

static bool read_tables(const gs_object *object, struct tables *tables) {
    memset(tables, 0, sizeof *tables);
    bool plt_has_addends = true;
    for (const ElfW(Dyn) *entry = object->dynamic; entry->d_tag != DT_NULL; entry++) {
        uintptr_t address = entry->d_un.d_ptr;
        if (address < object->base) {
            address += object->base;
        }
        switch (entry->d_tag) {
        case DT_SYMTAB: tables->symbols = place(address); break;
        case DT_STRTAB: tables->names = place(address); break;
        case DT_JMPREL: tables->plt = place(address); break;
        case DT_PLTRELSZ: tables->plt_bytes = entry->d_un.d_val; break;
        case DT_PLTREL: plt_has_addends = entry->d_un.d_val == DT_RELA; break;
        case DT_RELA: tables->rela = place(address); break;
        case DT_RELASZ: tables->rela_bytes = entry->d_un.d_val; break;
        default: break;
        }
    }
    return tables->symbols != NULL && tables->names != NULL && plt_has_addends;
}

/* Writes a slot that may lie in pages that the linker has made read-only. */
static bool write_slot(const gs_object *object, void **address, void *value) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t at = (uintptr_t)address;
    /* The linker protects whole pages inside the RELRO segment. */
    bool read_only = at >= object->relro_start && at < (object->relro_end & ~(page - 1));
    void *start = place(at & ~(page - 1));
    if (read_only && mprotect(start, page, PROT_READ | PROT_WRITE) != 0) {
        return false;
    }
    /* relaxed: functions are immutable; a caller gets the old or the new one */
    atomic_store_explicit((_Atomic(void *) *)address, value, memory_order_relaxed);
    if (read_only) {
        mprotect(start, page, PROT_READ);
    }
    return true;
}

struct swap {
    gs_slots *slots;
    const gs_object *object;
    const char *symbol;
    void *ours;
    void *real;
    const struct tables *tables;
    size_t found;
};

/* Ours is in this slot, or behind what another tool has put there since: on top of that it would call itself. */
static bool is_known(const gs_slots *slots, void **address) {
    for (size_t i = 0; i < slots->count; i++) {
        if (slots->slot[i].address == address) {
            return true;
        }
    }
    return false;
}

static void swap_one(struct swap *swap, const ElfW(Rela) * relocation) {
    if (strcmp(swap->tables->names + swap->tables->symbols[ELF64_R_SYM(relocation->r_info)].st_name, swap->symbol) !=
        0) {
        return;
    }
    void **address = place(swap->object->base + relocation->r_offset);
    void *theirs = *address;
    if (theirs == swap->ours || is_known(swap->slots, address)) {
        swap->found++;
        return;
    }
    uintptr_t pointer = (uintptr_t)theirs;
    if (pointer >= swap->object->start && pointer < swap->object->end) {
        theirs = swap->real; /* not bound yet: it leads to the linker */
    }
    if (swap->slots->count == GS_MAX_SLOTS || !write_slot(swap->object, address, swap->ours)) {
        return;
    }
    swap->slots->slot[swap->slots->count++] =
        (gs_slot){.address = address, .theirs = theirs, .ours = swap->ours, .object = swap->object->base};
    swap->found++;
}

static void swap_in(struct swap *swap, const ElfW(Rela) * relocations, size_t bytes) {
    for (size_t i = 0; relocations != NULL && i < bytes / sizeof *relocations; i++) {
        uint32_t type = (uint32_t)ELF64_R_TYPE(relocations[i].r_info);
        if (type == SLOT_IN_PLT || type == SLOT_IN_GOT) {
            swap_one(swap, &relocations[i]);
        }
    }
}

size_t gs_interpose(gs_slots *self, const gs_object *object, const char *symbol, void *ours, void *real) {
    struct tables tables;
    if (!read_tables(object, &tables)) {
        return 0;
    }
    struct swap swap = {self, object, symbol, ours, real, &tables, 0};
    swap_in(&swap, tables.plt, tables.plt_bytes);
    swap_in(&swap, tables.rela, tables.rela_bytes);
    return swap.found;
}

struct undoing {
    gs_slots *slots;
    size_t kept;
};

static bool undo_in(const gs_object *object, void *context) {
    struct undoing *undoing = context;
    for (size_t i = 0; i < undoing->slots->count; i++) {
        gs_slot *slot = &undoing->slots->slot[i];
        if (slot->object == object->base && slot->ours != NULL && *slot->address == slot->ours &&
            write_slot(object, slot->address, slot->theirs)) {
            slot->ours = NULL;
        }
    }
    return false;
}

void gs_interpose_undo(gs_slots *self) {
    struct undoing undoing = {self, 0};
    gs_objects_visit(undo_in, &undoing);
    size_t kept = 0;
    for (size_t i = 0; i < self->count; i++) {
        if (self->slot[i].ours != NULL) {
            self->slot[kept++] = self->slot[i];
        }
    }
    self->count = kept;
}

void *gs_interpose_next(const gs_slots *self, const void *ours, void *real) {
    for (size_t i = 0; i < self->count; i++) {
        if (self->slot[i].ours == ours) {
            return self->slot[i].theirs;
        }
    }
    return real;
}
