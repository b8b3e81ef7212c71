/* sources: probe/chunk_writer.c probe/flight.c */
/* libs: z */
/* variants: plain asan */
/* Chunks as docs/capture.md has them, and files that cannot be written to their end. */
#include "probe/chunk_writer.h"

#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static uint32_t u32(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static int open_file(const char *name) {
    int file = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    REQUIRE(file >= 0);
    return file;
}

static void chunk_is_header_and_compressed_payload(void) {
    static const char text[] = "gil gil gil gil gil gil gil gil gil gil gil gil gil gil";
    uint8_t bytes[512];
    uint8_t plain[sizeof text];
    gs_chunk_writer writer;
    int file = open_file("one");
    gs_chunk_writer_begin(&writer, file, NULL);
    gs_chunk_write(&writer, GS_CHUNK_METADATA, text, sizeof text);
    gs_chunk_write(&writer, GS_CHUNK_EVENTS, text, 0);
    gs_chunk_write(&writer, GS_CHUNK_END, text, 3);
    CHECK_EQ(writer.error, 0);
    ssize_t size = pread(file, bytes, sizeof bytes, 0);
    CHECK_EQ(size, writer.file_bytes);
    CHECK_MEM_EQ(bytes, "GILSCOPE\1\0\x30\0\0\0\0\0", 16);
    const uint8_t *chunk = bytes + 16;
    CHECK_MEM_EQ(chunk, "GSCK\1\1\0\0", 8);
    uint32_t stored = u32(chunk + 8);
    CHECK_EQ(u32(chunk + 12), sizeof text);
    CHECK_EQ(u32(chunk + 16), crc32(crc32(0, chunk + 4, 12), chunk + 24, stored)); /* without magic and number */
    CHECK_EQ(u32(chunk + 20), 0);
    uLongf plain_bytes = sizeof plain;
    CHECK_EQ(uncompress(plain, &plain_bytes, chunk + 24, stored), Z_OK);
    CHECK_MEM_EQ(plain, text, sizeof text);
    /* An empty payload is no chunk, and one that zlib would make longer is stored as it is. */
    CHECK_MEM_EQ(chunk + 24 + stored, "GSCK\4\0\0\0\3\0\0\0\3\0\0\0", 16);
    CHECK_MEM_EQ(chunk + 24 + stored + 24, "gil", 3);
    CHECK_EQ(u32(chunk + 24 + stored + 20), 1);
    close(file);
}

static void first_failure_is_kept_and_nothing_is_written_after_it(void) {
    static uint8_t noise[100000];
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (uint8_t)(i * i * i >> 7);
    }
    signal(SIGXFSZ, SIG_IGN);
    int file = open_file("full");
    gs_chunk_writer writer;
    gs_chunk_writer_begin(&writer, file, NULL);
    struct rlimit limit;
    REQUIRE(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    struct rlimit small = {.rlim_cur = 1000, .rlim_max = limit.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    gs_chunk_write(&writer, GS_CHUNK_EVENTS, noise, sizeof noise);
    CHECK_EQ(writer.error, EFBIG);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    gs_chunk_write(&writer, GS_CHUNK_EVENTS, noise, 10);
    struct stat found;
    REQUIRE(fstat(file, &found) == 0);
    CHECK_EQ(found.st_size, 1000);
    CHECK_EQ(writer.file_bytes, 1000);
    close(file);
}

static void descriptor_that_cannot_be_written_is_an_error(void) {
    gs_chunk_writer writer;
    gs_chunk_writer_begin(&writer, -1, NULL);
    CHECK_EQ(writer.error, EBADF);
    CHECK_EQ(writer.file_bytes, 0);
}

CHECK_MAIN(CHECK_TEST(chunk_is_header_and_compressed_payload),
           CHECK_TEST(first_failure_is_kept_and_nothing_is_written_after_it),
           CHECK_TEST(descriptor_that_cannot_be_written_is_an_error))
