#include "otlp.h"

#define REPLACEMENT 0xFFFDu

static inline bool is_surrogate(uint32_t code_point) {
    return (code_point & 0xFFFFF800u) == 0xD800u;
}

/* Plain sums over the units, without a branch: compilers turn them into vector code. */
bool gs_text_measure(gs_text *text) {
    size_t units = text->units;
    size_t bytes = units;
    size_t surrogates = 0;
    switch (text->form) {
    case GS_TEXT_UTF8: break;
    case GS_TEXT_UCS1: {
        const uint8_t *unit = text->data;
        for (size_t i = 0; i < units; i++) {
            bytes += unit[i] >> 7;
        }
        break;
    }
    case GS_TEXT_UCS2: {
        const uint16_t *unit = text->data;
        for (size_t i = 0; i < units; i++) {
            bytes += (size_t)(unit[i] >= 0x80) + (size_t)(unit[i] >= 0x800);
            surrogates += is_surrogate(unit[i]);
        }
        break;
    }
    case GS_TEXT_UCS4: {
        const uint32_t *unit = text->data;
        for (size_t i = 0; i < units; i++) {
            bytes += (size_t)(unit[i] >= 0x80) + (size_t)(unit[i] >= 0x800) + (size_t)(unit[i] >= 0x10000);
            surrogates += is_surrogate(unit[i]);
        }
        break;
    }
    }
    text->bytes = bytes;
    return surrogates != 0;
}

static inline uint8_t *write_code_point(uint8_t *at, uint32_t code_point) {
    if (code_point < 0x80) {
        *at++ = (uint8_t)code_point;
        return at;
    }
    if (code_point < 0x800) {
        *at++ = (uint8_t)(0xC0 | code_point >> 6);
    } else {
        if (code_point < 0x10000) {
            code_point = is_surrogate(code_point) ? REPLACEMENT : code_point;
            *at++ = (uint8_t)(0xE0 | code_point >> 12);
        } else {
            *at++ = (uint8_t)(0xF0 | code_point >> 18);
            *at++ = (uint8_t)(0x80 | (code_point >> 12 & 0x3F));
        }
        *at++ = (uint8_t)(0x80 | (code_point >> 6 & 0x3F));
    }
    *at++ = (uint8_t)(0x80 | (code_point & 0x3F));
    return at;
}

/* Latin text is mostly ASCII: eight units at a time as long as no high bit is set. */
static uint8_t *transcode_ucs1(uint8_t *at, const uint8_t *unit, size_t units) {
    size_t i = 0;
    while (i < units) {
        uint64_t eight;
        while (units - i >= sizeof eight) {
            memcpy(&eight, unit + i, sizeof eight);
            if ((eight & UINT64_C(0x8080808080808080)) != 0) {
                break;
            }
            memcpy(at, &eight, sizeof eight);
            at += sizeof eight;
            i += sizeof eight;
        }
        for (size_t end = units - i < 8 ? units : i + 8; i < end; i++) {
            at = write_code_point(at, unit[i]);
        }
    }
    return at;
}

uint8_t *gs_text_transcode(uint8_t *at, const gs_text *text) {
    size_t units = text->units;
    switch (text->form) {
    case GS_TEXT_UTF8: memcpy(at, text->data, text->bytes); return at + text->bytes;
    case GS_TEXT_UCS1: return transcode_ucs1(at, text->data, units);
    case GS_TEXT_UCS2: {
        const uint16_t *unit = text->data;
        for (size_t i = 0; i < units; i++) {
            at = write_code_point(at, unit[i]);
        }
        return at;
    }
    case GS_TEXT_UCS4: {
        const uint32_t *unit = text->data;
        for (size_t i = 0; i < units; i++) {
            at = write_code_point(at, unit[i]);
        }
        return at;
    }
    }
    return at;
}

/* Source: The Unicode Standard, table 3-7, "Well-Formed UTF-8 Byte Sequences" */
bool gs_text_is_utf8(const uint8_t *data, size_t bytes) {
    size_t i = 0;
    while (i < bytes) {
        uint8_t lead = data[i++];
        if (lead < 0x80) {
            continue;
        }
        size_t more = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
        if (lead < 0xC2 || lead > 0xF4 || bytes - i < more) {
            return false;
        }
        uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
        uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        for (; more > 0; more--, i++) {
            if (data[i] < low || data[i] > high) {
                return false;
            }
            low = 0x80;
            high = 0xBF;
        }
    }
    return true;
}

void gs_otlp_write_text(gs_wire *wire, uint32_t field, const gs_text *text) {
    if (text->bytes != 0 && gs_wire_reserve(wire, GS_OTLP_FIELD_HEAD_BYTES + text->bytes)) {
        wire->at = gs_text_write(gs_len_field_write(wire->at, field, text->bytes), text);
    }
}

void gs_otlp_write_varint(gs_wire *wire, uint32_t field, uint64_t value) {
    if (value != 0 && gs_wire_reserve(wire, GS_OTLP_FIELD_HEAD_BYTES)) {
        wire->at = gs_varint_write(gs_tag_write(wire->at, field, GS_WIRE_VARINT), value);
    }
}

void gs_otlp_write_fixed64(gs_wire *wire, uint32_t field, uint64_t value) {
    if (value != 0 && gs_wire_reserve(wire, GS_OTLP_FIELD_HEAD_BYTES)) {
        wire->at = gs_fixed64_write(gs_tag_write(wire->at, field, GS_WIRE_FIXED64), value);
    }
}
