/* The elements of a value lie in it, in order, and hold no comma; reading one is told the same
 * twice. */
#include "proto/forwarded.h"

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_element(struct str element)
{
    uint8_t ip[IP_BYTES] = {0};
    int err = forwarded_read(element, ip);
    ASSERT(err == 0 || err == ERR_NOT_FOUND || err == ERR_SYNTAX);
    ASSERT(forwarded_read(element, ip) == err);
    err = forwarded_read_plain(element, ip);
    ASSERT(err == 0 || err == ERR_NOT_FOUND || err == ERR_SYNTAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = str_make(data, size);
    struct str element;
    const char *before = (const char *)data + size;
    while (forwarded_cut_last(&rest, &element)) {
        ASSERT(element.ptr >= (const char *)data && element.ptr + element.len <= before);
        ASSERT(!memchr(element.ptr, ',', element.len));
        before = element.ptr;
        check_element(element);
    }
    return 0;
}
