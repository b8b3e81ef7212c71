/* sources: compress.c */
/* libs: z */
/* The compressor's output, given in pieces, into too little room, and what it keeps of its buffer. */
#include "compress.h"

#include "check.h"

static uint8_t body[4u << 20];
static uint8_t plain[4u << 20];

static void fill_body(void) {
    for (size_t i = 0; i < sizeof body; i++) {
        body[i] = (uint8_t)(i * i >> 9);
    }
}

static bool compress_in_pieces(gs_compressor *compressor, size_t body_bytes, size_t piece_bytes, size_t room) {
    if (gs_compressor_reserve(compressor, 5, room) == NULL || !gs_compressor_begin(compressor, 5, room)) {
        return false;
    }
    for (size_t done = 0; done < body_bytes; done += piece_bytes) {
        size_t piece = body_bytes - done < piece_bytes ? body_bytes - done : piece_bytes;
        if (!gs_compressor_feed(compressor, body + done, piece, done + piece == body_bytes)) {
            return false;
        }
    }
    return true;
}

static void pieces_give_one_output(void) {
    fill_body();
    for (int gzip = 0; gzip < 2; gzip++) {
        gs_compressor compressor;
        gs_compressor_init(&compressor, gzip != 0, 1);
        static const size_t pieces[] = {1000, 262144, sizeof body};
        for (size_t i = 0; i < 3; i++) {
            size_t plain_bytes = 0;
            CHECK(compress_in_pieces(&compressor, sizeof body, pieces[i], sizeof body));
            CHECK(gs_compressor_output_bytes(&compressor) < sizeof body);
            CHECK_EQ(compressor.buffer[5] == 0x1f, gzip); /* gzip's magic number behind the prefix */
            CHECK(gs_decompress(plain, sizeof plain, compressor.buffer + 5, gs_compressor_output_bytes(&compressor),
                                &plain_bytes));
            CHECK_EQ(plain_bytes, sizeof body);
            CHECK_MEM_EQ(plain, body, sizeof body);
        }
        gs_compressor_free(&compressor);
    }
}

static void output_that_does_not_fit_is_given_up(void) {
    fill_body();
    gs_compressor compressor;
    gs_compressor_init(&compressor, true, 1);
    REQUIRE(compress_in_pieces(&compressor, 100000, 100000, 100000));
    size_t needed = gs_compressor_output_bytes(&compressor);
    CHECK(compress_in_pieces(&compressor, 100000, 7000, needed));
    for (size_t room = 0; room < needed; room += needed / 13) {
        CHECK(!compress_in_pieces(&compressor, 100000, 7000, room));
        CHECK(!compress_in_pieces(&compressor, 100000, 100000, room));
    }
    CHECK(!compress_in_pieces(&compressor, 100000, 100000, needed - 1));
    CHECK(compress_in_pieces(&compressor, 100000, 100000, needed)); /* a failure leaves nothing behind */
    gs_compressor_free(&compressor);
}

static void level_that_does_not_exist_is_no_compressor(void) {
    gs_compressor compressor;
    gs_compressor_init(&compressor, true, 77);
    CHECK(!compress_in_pieces(&compressor, 100, 100, 100));
    CHECK(!compress_in_pieces(&compressor, 100, 100, 100));
    gs_compressor_free(&compressor);
}

static void large_buffer_is_given_back_after_calm(void) {
    gs_compressor compressor;
    gs_compressor_init(&compressor, true, 1);
    CHECK(gs_compressor_reserve(&compressor, 5, sizeof body) != NULL);
    CHECK_EQ(compressor.capacity, sizeof body + 5);
    for (int request = 0; request < 15; request++) {
        CHECK(gs_compressor_reserve(&compressor, 5, 1000) != NULL);
        CHECK_EQ(compressor.capacity, sizeof body + 5);
    }
    CHECK(gs_compressor_reserve(&compressor, 5, 1000) != NULL);
    CHECK_EQ(compressor.capacity, 1005);
    /* one that is not large stays, however calm it is */
    CHECK(gs_compressor_reserve(&compressor, 5, 500000) != NULL);
    for (int request = 0; request < 40; request++) {
        CHECK(gs_compressor_reserve(&compressor, 5, 1000) != NULL);
    }
    CHECK_EQ(compressor.capacity, 500005);
    CHECK(gs_compressor_reserve(&compressor, 5, SIZE_MAX) == NULL);
    gs_compressor_free(&compressor);
}

static void what_is_not_compressed_is_not_decompressed(void) {
    size_t plain_bytes = 0;
    CHECK(!gs_decompress(plain, sizeof plain, (const uint8_t *)"", 0, &plain_bytes));
    CHECK(!gs_decompress(plain, sizeof plain, (const uint8_t *)"plain text", 10, &plain_bytes));
    CHECK(!gs_decompress(plain, sizeof plain, (const uint8_t *)"\x1f\x8b\x08\0\0\0\0\0\0\3", 10, &plain_bytes));
}

CHECK_MAIN(CHECK_TEST(pieces_give_one_output), CHECK_TEST(output_that_does_not_fit_is_given_up),
           CHECK_TEST(level_that_does_not_exist_is_no_compressor), CHECK_TEST(large_buffer_is_given_back_after_calm),
           CHECK_TEST(what_is_not_compressed_is_not_decompressed))
