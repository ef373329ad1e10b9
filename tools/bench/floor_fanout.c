/* The floor of fan-out: each request makes one frame, and a bare loop of send() gives it to every
 * session. With --deflate the frame is compressed once, and the loop is the same.
 *
 *   floor_fanout PORT [--deflate] */
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

#include "bench_util.h"
#include "floor.h"

static int sessions[FLOOR_MAX_DESCRIPTORS];
static uint32_t place_of[FLOOR_MAX_DESCRIPTORS]; /* of a descriptor in sessions */
static uint32_t session_count;
static struct libdeflate_compressor *compressor; /* NULL: plain frames */

static void add_session(int fd, uint32_t user)
{
    place_of[fd] = session_count;
    sessions[session_count++] = fd;
}

static void remove_session(int fd, uint32_t user)
{
    int last = sessions[--session_count];
    sessions[place_of[fd]] = last;
    place_of[last] = place_of[fd];
}

/* RFC 7692 7.2.3.4: a message that ends with a final block is closed by one zero byte. */
static size_t compress(uint8_t *out, size_t room, struct floor_span payload)
{
    size_t len = libdeflate_deflate_compress(compressor, payload.text, payload.len, out, room - 1);
    if (!len) {
        bench_die("a payload of %zu bytes is more than this floor compresses", payload.len);
    }
    out[len] = 0;
    return len + 1;
}

static void fan_out(struct floor_span path, struct floor_span body)
{
    static uint8_t frame[FLOOR_MAX_FRAME_HEADER + UINT16_MAX];
    static uint8_t compressed[UINT16_MAX];
    struct floor_span payload = floor_payload(path, body);
    const void *data = payload.text;
    size_t len = payload.len;
    if (compressor) {
        len = compress(compressed, sizeof(compressed), payload);
        data = compressed;
    }
    size_t header_len = floor_frame_header(frame, len, compressor != NULL);
    memcpy(frame + header_len, data, len);
    for (uint32_t i = 0; i < session_count; i++) {
        floor_send(sessions[i], frame, header_len + len);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        bench_die("usage: floor_fanout PORT [--deflate]");
    }
    bool deflate = argc > 2 && strcmp(argv[2], "--deflate") == 0;
    if (deflate) {
        compressor = libdeflate_alloc_compressor(6);
    }
    const struct floor_hooks hooks = {add_session, remove_session, fan_out};
    floor_serve((uint16_t)atoi(argv[1]), deflate, &hooks);
}
