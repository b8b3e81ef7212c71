#include "scope_interner.h"

#include <stdlib.h>
#include <string.h>

#include "../core/otlp.h"

/* Pairs of objects that are known by identity; one that maps to the place of another takes it over. */
#define IDENTITY_SLOTS 64u

typedef struct identity {
    PyObject *resource; /* strong, both: else another object might get the address */
    PyObject *scope;
    gs_scope *interned;
} identity;

/* Open addressing, at most half full, nothing is ever taken out. Items begin with what `hash_of` reads. */
typedef struct table {
    void **slots;
    size_t capacity; /* a power of two, or 0 */
    uint32_t count;
} table;

struct gs_scope_interner {
    _Atomic bool busy;
    _Atomic uint32_t generation;
    table resources;
    table scopes;
    identity identities[IDENTITY_SLOTS];
};

/* I2: from acquiring `busy` to releasing it the tables are the caller's. False: somebody else's, do without. */
static bool enter(gs_scope_interner *self) {
    /* acquire, pairs with the store in leave (I2): may read and write the tables */
    return !atomic_exchange_explicit(&self->busy, true, memory_order_acquire);
}

static void leave(gs_scope_interner *self) {
    /* release, pairs with the exchange in enter (I2) */
    atomic_store_explicit(&self->busy, false, memory_order_release);
}

static void free_after_fork(gs_scope_interner *self, uint32_t generation) {
    /* relaxed: the child has had one thread since the fork; whoever sees the new generation first frees the tables */
    if (atomic_load_explicit(&self->generation, memory_order_relaxed) != generation) {
        if (atomic_exchange_explicit(&self->generation, generation, memory_order_relaxed) != generation) {
            leave(self);
        }
    }
}

/* Eight bytes a step; good enough for a table that compares what it finds. */
static uint64_t hash_bytes(uint64_t hash, gs_definition_fields fields) {
    const uint64_t odd = UINT64_C(0x9E3779B97F4A7C15);
    hash ^= fields.bytes;
    for (size_t i = 0; i < fields.bytes; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        size_t left = fields.bytes - i;
        memcpy(&word, fields.data + i, left < sizeof word ? left : sizeof word);
        hash = (hash ^ word) * odd;
        hash ^= hash >> 29;
    }
    return hash;
}

static bool same_fields(gs_definition_fields one, gs_definition_fields other) {
    return one.bytes == other.bytes && (one.bytes == 0 || memcmp(one.data, other.data, one.bytes) == 0);
}

/* Room for one more. */
static bool make_room(table *self, uint64_t (*hash_of)(const void *item)) {
    if ((size_t)self->count * 2 < self->capacity) {
        return true;
    }
    size_t capacity = self->capacity == 0 ? 16 : self->capacity * 2;
    void **slots = calloc(capacity, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < self->capacity; i++) {
        if (self->slots[i] != NULL) {
            size_t at = (size_t)hash_of(self->slots[i]) & (capacity - 1);
            while (slots[at] != NULL) {
                at = (at + 1) & (capacity - 1);
            }
            slots[at] = self->slots[i];
        }
    }
    free(self->slots);
    self->slots = slots;
    self->capacity = capacity;
    return true;
}

static void insert(table *self, void *item, uint64_t hash) {
    size_t at = (size_t)hash & (self->capacity - 1);
    while (self->slots[at] != NULL) {
        at = (at + 1) & (self->capacity - 1);
    }
    self->slots[at] = item;
    self->count++;
}

static uint64_t resource_hash(const void *item) {
    return ((const gs_resource *)item)->hash;
}

static uint64_t scope_hash(const void *item) {
    return ((const gs_scope *)item)->hash;
}

static gs_resource *find_resource(const table *self, uint64_t hash, gs_definition_fields fields) {
    for (size_t i = (size_t)hash; self->capacity != 0; i++) {
        gs_resource *found = self->slots[i & (self->capacity - 1)];
        if (found == NULL || (found->hash == hash && same_fields(found->fields, fields))) {
            return found;
        }
    }
    return NULL;
}

static gs_scope *find_scope(const table *self, uint64_t hash, const gs_resource *resource,
                            gs_definition_fields fields) {
    for (size_t i = (size_t)hash; self->capacity != 0; i++) {
        gs_scope *found = self->slots[i & (self->capacity - 1)];
        if (found == NULL ||
            (found->hash == hash && found->resource == resource && same_fields(found->fields, fields))) {
            return found;
        }
    }
    return NULL;
}

/* One allocation, the bytes behind the struct. */
static gs_resource *new_resource(uint32_t id, uint64_t hash, gs_definition_fields fields) {
    gs_resource *self = malloc(sizeof *self + fields.bytes);
    if (self != NULL) {
        uint8_t *copy = (uint8_t *)(self + 1);
        memcpy(copy, fields.data, fields.bytes);
        *self = (gs_resource){.id = id, .hash = hash, .fields = {.data = copy, .bytes = fields.bytes}};
    }
    return self;
}

static gs_scope *new_scope(uint32_t id, uint64_t hash, gs_resource *resource, gs_definition_fields fields) {
    gs_scope *self = malloc(sizeof *self + fields.bytes);
    if (self != NULL) {
        uint8_t *copy = (uint8_t *)(self + 1);
        memcpy(copy, fields.data, fields.bytes);
        self->id = id;
        atomic_init(&self->told, 0);
        self->resource = resource;
        self->fields = (gs_definition_fields){.data = copy, .bytes = fields.bytes};
        self->hash = hash;
    }
    return self;
}

/* With the tables: the resource, numbered if it was not; NULL: no number left, or no memory. */
static gs_resource *intern_resource(gs_scope_interner *self, gs_definition_fields fields) {
    uint64_t hash = hash_bytes(1, fields);
    gs_resource *resource = find_resource(&self->resources, hash, fields);
    if (resource == NULL && self->resources.count < GS_SCOPE_MAX && make_room(&self->resources, resource_hash)) {
        resource = new_resource(self->resources.count + 1, hash, fields);
        if (resource != NULL) {
            insert(&self->resources, resource, hash);
        }
    }
    return resource;
}

static gs_scope *intern_scope(gs_scope_interner *self, gs_resource *resource, gs_definition_fields fields) {
    uint64_t hash = hash_bytes(resource->hash, fields);
    gs_scope *scope = find_scope(&self->scopes, hash, resource, fields);
    if (scope == NULL && self->scopes.count < GS_SCOPE_MAX && make_room(&self->scopes, scope_hash)) {
        scope = new_scope(self->scopes.count + 1, hash, resource, fields);
        if (scope != NULL) {
            insert(&self->scopes, scope, hash);
        }
    }
    return scope;
}

static gs_scope *inline_scope(gs_definition_fields resource_fields, gs_definition_fields scope_fields) {
    gs_resource *resource = new_resource(GS_SCOPE_INLINE, 0, resource_fields);
    gs_scope *scope = resource == NULL ? NULL : new_scope(GS_SCOPE_INLINE, 0, resource, scope_fields);
    if (scope == NULL) {
        free(resource);
    }
    return scope;
}

static identity *identity_slot(gs_scope_interner *self, const PyObject *resource, const PyObject *scope) {
    /* Objects are 16 bytes apart at least. */
    uintptr_t mixed = ((uintptr_t)resource >> 4) * 3 ^ (uintptr_t)scope >> 4 ^ (uintptr_t)scope >> 10;
    return &self->identities[mixed % IDENTITY_SLOTS];
}

gs_scope_interner *gs_scope_interner_new(void) {
    return calloc(1, sizeof(gs_scope_interner));
}

void gs_scope_interner_free(gs_scope_interner *self) {
    if (self == NULL) {
        return;
    }
    for (size_t i = 0; i < IDENTITY_SLOTS; i++) {
        Py_XDECREF(self->identities[i].resource);
        Py_XDECREF(self->identities[i].scope);
    }
    for (size_t i = 0; i < self->scopes.capacity; i++) {
        free(self->scopes.slots[i]);
    }
    for (size_t i = 0; i < self->resources.capacity; i++) {
        free(self->resources.slots[i]);
    }
    free(self->scopes.slots);
    free(self->resources.slots);
    free(self);
}

gs_scope *gs_scope_interner_find(gs_scope_interner *self, PyObject *resource, PyObject *scope, uint32_t generation) {
    free_after_fork(self, generation);
    if (!enter(self)) {
        return NULL;
    }
    const identity *known = identity_slot(self, resource, scope);
    gs_scope *found = known->resource == resource && known->scope == scope ? known->interned : NULL;
    leave(self);
    return found;
}

gs_scope *gs_scope_interner_add(gs_scope_interner *self, PyObject *resource, gs_definition_fields resource_fields,
                                PyObject *scope, gs_definition_fields scope_fields) {
    if (!enter(self)) {
        return inline_scope(resource_fields, scope_fields);
    }
    identity displaced = {0};
    gs_resource *interned_resource = intern_resource(self, resource_fields);
    gs_scope *interned = interned_resource == NULL ? NULL : intern_scope(self, interned_resource, scope_fields);
    if (interned != NULL) {
        identity *slot = identity_slot(self, resource, scope);
        displaced = *slot;
        *slot = (identity){.resource = Py_NewRef(resource), .scope = Py_NewRef(scope), .interned = interned};
    }
    leave(self);
    Py_XDECREF(displaced.resource);
    Py_XDECREF(displaced.scope);
    return interned != NULL ? interned : inline_scope(resource_fields, scope_fields);
}

void gs_scope_release(gs_scope *scope) {
    if (scope != NULL && scope->id == GS_SCOPE_INLINE) {
        /* Belongs to this scope alone. A resource with a number never stands behind one without. */
        free(scope->resource);
        free(scope);
    }
}
