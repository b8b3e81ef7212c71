#include "batch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "otlp.h"
#include "wire.h"

/* Field numbers: opentelemetry/proto/collector/trace/v1/trace_service.proto and trace/v1/trace.proto. */
enum { REQUEST_RESOURCE_SPANS = 1, RESOURCE_SPANS_SCOPE_SPANS = 2 };

/* What a request adds to the spans and definitions themselves: two tags and two lengths of at most five bytes a scope. */
enum { SCOPE_OVERHEAD_BYTES = 12 };

/* A body buffer larger than this is given back once it has been sent. */
enum { KEPT_BODY_BYTES = 8 << 20 };

#define NONE UINT32_MAX

typedef struct resource {
    const uint8_t *fields; /* finished fields of ResourceSpans */
    size_t bytes;
    uint64_t build; /* the build in which `group` holds */
    uint32_t group;
} resource;

typedef struct scope {
    resource *resource;
    const uint8_t *fields; /* finished fields of ScopeSpans */
    size_t bytes;
    uint64_t batch; /* the batch in which its size has been counted */
    uint64_t build;
    uint32_t group;
} scope;

typedef struct span {
    const uint8_t *field; /* finished `spans` field */
    size_t bytes;
    scope *scope;
    uint32_t next; /* in its group */
} span;

typedef struct scope_group {
    scope *scope;
    uint32_t first_span, last_span;
    uint32_t next; /* in its resource group */
    size_t body_bytes;
} scope_group;

typedef struct resource_group {
    resource *resource;
    uint32_t first_scope, last_scope;
    size_t body_bytes;
} resource_group;

typedef struct table {
    void **items;
    size_t capacity;
} table;

struct gs_batch {
    uint32_t max_spans;
    uint32_t span_count;
    uint64_t estimated_bytes;
    uint64_t batch, build; /* 0 is never current */
    span *spans;
    scope_group *scope_groups;
    resource_group *resource_groups;
    /* by id; grown on demand, so that ids cost memory only where there are scopes */
    table scopes, resources;
    /* definitions that nothing else knows, one a span; the memory comes with the first of them */
    scope *inline_scopes;
    resource *inline_resources;
    uint8_t *body;
    size_t body_capacity;
};

static void table_free(table *self) {
    for (size_t id = 0; id < self->capacity; id++) {
        free(self->items[id]);
    }
    free((void *)self->items);
}

/* Makes room for `id`; 0 or ENOMEM. */
static int table_reach(table *self, uint32_t id) {
    if (id < self->capacity) {
        return 0;
    }
    size_t wanted = self->capacity == 0 ? 64 : self->capacity;
    while (wanted <= id) {
        wanted *= 2;
    }
    void **grown = realloc((void *)self->items, wanted * sizeof *grown);
    if (grown == NULL) {
        return ENOMEM;
    }
    memset((void *)(grown + self->capacity), 0, (wanted - self->capacity) * sizeof *grown);
    *self = (table){.items = grown, .capacity = wanted};
    return 0;
}

int gs_batch_new(gs_batch **self, uint32_t max_spans) {
    gs_batch *batch = calloc(1, sizeof *batch);
    if (batch != NULL) {
        batch->max_spans = max_spans;
        batch->batch = 1;
        batch->spans = calloc(max_spans, sizeof *batch->spans);
        batch->scope_groups = calloc(max_spans, sizeof *batch->scope_groups);
        batch->resource_groups = calloc(max_spans, sizeof *batch->resource_groups);
        if (batch->spans != NULL && batch->scope_groups != NULL && batch->resource_groups != NULL) {
            *self = batch;
            return 0;
        }
        gs_batch_free(batch);
    }
    return ENOMEM;
}

void gs_batch_free(gs_batch *self) {
    if (self == NULL) {
        return;
    }
    table_free(&self->scopes);
    table_free(&self->resources);
    free(self->inline_scopes);
    free(self->inline_resources);
    free(self->spans);
    free(self->scope_groups);
    free(self->resource_groups);
    free(self->body);
    free(self);
}

void gs_batch_clear(gs_batch *self) {
    self->span_count = 0;
    self->estimated_bytes = 0;
    self->batch++;
    if (self->body_capacity > KEPT_BODY_BYTES) {
        free(self->body);
        self->body = NULL;
        self->body_capacity = 0;
    }
}

uint32_t gs_batch_spans(const gs_batch *self) {
    return self->span_count;
}

/* Allocates `object_bytes` with a copy of `fields` behind it. */
static void *with_fields(size_t object_bytes, const uint8_t *fields, size_t field_bytes) {
    uint8_t *object = calloc(1, object_bytes + field_bytes);
    if (object != NULL && field_bytes > 0) {
        memcpy(object + object_bytes, fields, field_bytes);
    }
    return object;
}

static gs_status define(gs_batch *self, uint32_t scope_id, const gs_scope_definition *definition,
                        const uint8_t *resource_fields, const uint8_t *scope_fields) {
    uint32_t resource_id = definition->resource_id;
    if (table_reach(&self->scopes, scope_id) != 0 || table_reach(&self->resources, resource_id) != 0) {
        return GS_NO_MEMORY;
    }
    if (self->resources.items[resource_id] == NULL) {
        resource *made = with_fields(sizeof *made, resource_fields, definition->resource_bytes);
        if (made == NULL) {
            return GS_NO_MEMORY;
        }
        made->fields = (const uint8_t *)(made + 1);
        made->bytes = definition->resource_bytes;
        self->resources.items[resource_id] = made;
    }
    if (self->scopes.items[scope_id] == NULL) {
        scope *made = with_fields(sizeof *made, scope_fields, definition->scope_bytes);
        if (made == NULL) {
            return GS_NO_MEMORY;
        }
        made->resource = self->resources.items[resource_id];
        made->fields = (const uint8_t *)(made + 1);
        made->bytes = definition->scope_bytes;
        self->scopes.items[scope_id] = made;
    }
    return GS_OK;
}

/* A scope of its own for the next span, with its fields left in the record. */
static scope *define_inline(gs_batch *self, const gs_scope_definition *definition, const uint8_t *resource_fields,
                            const uint8_t *scope_fields) {
    if (self->inline_scopes == NULL) {
        self->inline_scopes = calloc(self->max_spans, sizeof *self->inline_scopes);
    }
    if (self->inline_resources == NULL) {
        self->inline_resources = calloc(self->max_spans, sizeof *self->inline_resources);
    }
    if (self->inline_scopes == NULL || self->inline_resources == NULL) {
        return NULL;
    }
    resource *own_resource = &self->inline_resources[self->span_count];
    *own_resource = (resource){.fields = resource_fields, .bytes = definition->resource_bytes};
    scope *own_scope = &self->inline_scopes[self->span_count];
    *own_scope = (scope){.resource = own_resource, .fields = scope_fields, .bytes = definition->scope_bytes};
    return own_scope;
}

gs_status gs_batch_add(gs_batch *self, const uint8_t *record, size_t record_bytes, uint64_t max_request_bytes) {
    if (self->span_count == self->max_spans) {
        return GS_FULL;
    }
    gs_span_record header;
    if (record_bytes < sizeof header) {
        return GS_FAILED;
    }
    memcpy(&header, record, sizeof header);
    const uint8_t *at = record + sizeof header;
    size_t left = record_bytes - sizeof header;
    if (header.definition_bytes > left || header.scope_id > GS_SCOPE_MAX) {
        return GS_FAILED;
    }
    scope *of_span = NULL;
    if (header.definition_bytes > 0) {
        gs_scope_definition definition;
        if (header.definition_bytes < sizeof definition) {
            return GS_FAILED;
        }
        memcpy(&definition, at, sizeof definition);
        if ((uint64_t)definition.resource_bytes + definition.scope_bytes + sizeof definition !=
                header.definition_bytes ||
            definition.resource_id > GS_SCOPE_MAX) {
            return GS_FAILED;
        }
        const uint8_t *resource_fields = at + sizeof definition;
        const uint8_t *scope_fields = resource_fields + definition.resource_bytes;
        if (header.scope_id == GS_SCOPE_INLINE || definition.resource_id == GS_SCOPE_INLINE) {
            of_span = define_inline(self, &definition, resource_fields, scope_fields);
            if (of_span == NULL) {
                return GS_NO_MEMORY;
            }
        } else {
            gs_status status = define(self, header.scope_id, &definition, resource_fields, scope_fields);
            if (status != GS_OK) {
                return status;
            }
        }
        at += header.definition_bytes;
        left -= header.definition_bytes;
    }
    if (of_span == NULL) {
        of_span = header.scope_id < self->scopes.capacity ? self->scopes.items[header.scope_id] : NULL;
        if (of_span == NULL) {
            return GS_FAILED;
        }
    }
    uint64_t more = left;
    if (of_span->batch != self->batch) {
        more += of_span->bytes + of_span->resource->bytes + SCOPE_OVERHEAD_BYTES;
    }
    if (self->span_count > 0 && self->estimated_bytes + more > max_request_bytes) {
        return GS_FULL;
    }
    of_span->batch = self->batch;
    self->estimated_bytes += more;
    self->spans[self->span_count++] = (span){.field = at, .bytes = left, .scope = of_span, .next = NONE};
    return GS_OK;
}

/* Sorts the run's spans into scope_groups and resource_groups and returns the request's size. */
static size_t group(gs_batch *self, uint32_t first, uint32_t count, uint32_t *resource_count) {
    self->build++;
    uint32_t scopes = 0;
    uint32_t resources = 0;
    for (uint32_t i = first; i < first + count; i++) {
        span *one = &self->spans[i];
        scope *of_span = one->scope;
        one->next = NONE;
        if (of_span->build == self->build) {
            scope_group *group = &self->scope_groups[of_span->group];
            self->spans[group->last_span].next = i;
            group->last_span = i;
            group->body_bytes += one->bytes;
            continue;
        }
        of_span->build = self->build;
        of_span->group = scopes;
        self->scope_groups[scopes] = (scope_group){
            .scope = of_span, .first_span = i, .last_span = i, .next = NONE, .body_bytes = of_span->bytes + one->bytes};
        resource *of_scope = of_span->resource;
        if (of_scope->build == self->build) {
            resource_group *group = &self->resource_groups[of_scope->group];
            self->scope_groups[group->last_scope].next = scopes;
            group->last_scope = scopes;
        } else {
            of_scope->build = self->build;
            of_scope->group = resources;
            self->resource_groups[resources++] = (resource_group){
                .resource = of_scope, .first_scope = scopes, .last_scope = scopes, .body_bytes = of_scope->bytes};
        }
        scopes++;
    }
    size_t request_bytes = 0;
    for (uint32_t r = 0; r < resources; r++) {
        resource_group *group = &self->resource_groups[r];
        for (uint32_t s = group->first_scope; s != NONE; s = self->scope_groups[s].next) {
            size_t body_bytes = self->scope_groups[s].body_bytes;
            group->body_bytes += 1 + gs_varint_size(body_bytes) + body_bytes;
        }
        request_bytes += 1 + gs_varint_size(group->body_bytes) + group->body_bytes;
    }
    *resource_count = resources;
    return request_bytes;
}

static uint8_t *append(uint8_t *at, const uint8_t *fields, size_t bytes) {
    if (bytes > 0) {
        memcpy(at, fields, bytes);
    }
    return at + bytes;
}

gs_status gs_batch_build(gs_batch *self, uint32_t first, uint32_t count, const uint8_t **body, size_t *body_bytes) {
    uint32_t resource_count = 0;
    size_t request_bytes = group(self, first, count, &resource_count);
    if (request_bytes > self->body_capacity) {
        uint8_t *grown = malloc(request_bytes + request_bytes / 8);
        if (grown == NULL) {
            return GS_NO_MEMORY;
        }
        free(self->body);
        self->body = grown;
        self->body_capacity = request_bytes + request_bytes / 8;
    }
    uint8_t *at = self->body;
    for (uint32_t r = 0; r < resource_count; r++) {
        const resource_group *of_resource = &self->resource_groups[r];
        at = gs_len_field_write(at, REQUEST_RESOURCE_SPANS, of_resource->body_bytes);
        at = append(at, of_resource->resource->fields, of_resource->resource->bytes);
        for (uint32_t s = of_resource->first_scope; s != NONE; s = self->scope_groups[s].next) {
            const scope_group *of_scope = &self->scope_groups[s];
            at = gs_len_field_write(at, RESOURCE_SPANS_SCOPE_SPANS, of_scope->body_bytes);
            at = append(at, of_scope->scope->fields, of_scope->scope->bytes);
            for (uint32_t i = of_scope->first_span; i != NONE; i = self->spans[i].next) {
                at = append(at, self->spans[i].field, self->spans[i].bytes);
            }
        }
    }
    *body = self->body;
    *body_bytes = request_bytes;
    return GS_OK;
}
