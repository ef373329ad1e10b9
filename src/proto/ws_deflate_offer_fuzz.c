/* Any bytes as the lines of Sec-WebSocket-Extensions, cut at line feeds. */
#include "proto/ws_deflate_offer.h"

#include "base/err.h"
#include "proto/ws_deflate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What we answer, our own client must understand. */
static void check_answer(const struct ws_deflate_choice *choice)
{
    char out[WS_DEFLATE_ANSWER_MAX];
    struct ws_deflate_choice read;
    ASSERT(choice->window_bits >= WS_WINDOW_BITS_MIN && choice->window_bits <= WS_WINDOW_BITS_MAX);
    ASSERT(ws_deflate_answer_read(&read, ws_deflate_answer_write(out, choice)) == 0);
    ASSERT(read.accepted && read.bits_asked == choice->bits_asked &&
           read.window_bits == choice->window_bits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { LINES = 8 };
    struct str lines[LINES];
    struct str rest = str_make(data, size);
    size_t count = 0;
    while (count < LINES && str_split(&rest, '\n', &lines[count])) {
        count++;
    }
    struct ws_deflate_choice choice;
    int err = ws_deflate_choose(&choice, lines, count);
    ASSERT(err == 0 || (err == ERR_SYNTAX && !choice.accepted));
    if (choice.accepted) {
        check_answer(&choice);
    }
    if (count > 0) {
        ws_deflate_answer_read(&choice, lines[0]);
    }
    return 0;
}
