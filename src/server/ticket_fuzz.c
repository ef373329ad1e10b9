/* Any bytes as a ticket: as a whole, which no signature covers, and as claims that one does: what
 * is read of these is written and read again as the same. */
#include <stdlib.h>

#include "base/err.h"
#include "server/ticket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t key[SIGNED_KEY_LEN] = {1, 2, 3};

static void check_same(const struct ticket *ticket)
{
    struct buf text = {0};
    struct ticket again;
    char memory[TICKET_MEMORY];
    if (ticket_write(&text, key, ticket) == 0) {
        ASSERT(ticket_read(&again, memory, key, buf_str(&text), 0) == 0);
        ASSERT(str_equal(again.app, ticket->app) && str_equal(again.id, ticket->id) &&
               str_equal(again.scene, ticket->scene) && str_equal(again.user, ticket->user) &&
               again.expires_ms == ticket->expires_ms && again.issued_ms == ticket->issued_ms);
    }
    buf_fini(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str bytes = str_make((const char *)data, size);
    struct ticket ticket;
    char memory[TICKET_MEMORY];
    struct buf text = {0};
    ASSERT(ticket_read(&ticket, memory, key, bytes, 0) != 0); /* nobody signed it */
    if (signed_write(&text, key, bytes) == 0 &&
        ticket_read(&ticket, memory, key, buf_str(&text), 0) == 0) {
        check_same(&ticket);
    }
    buf_fini(&text);
    return 0;
}
