/* Any bytes as a URL: what is taken fits its places, and its host, shown and read again, is the
 * same. */
#include "bus/redis_url.h"

#include <stdlib.h>

#include "base/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_url(const struct redis_url *url)
{
    char text[REDIS_ADDRESS_TEXT_MAX];
    struct redis_address again;
    ASSERT(strlen(url->user) <= REDIS_USER_MAX && strlen(url->password) <= REDIS_PASSWORD_MAX);
    ASSERT(url->db <= REDIS_DB_MAX && url->address.port > 0);
    redis_address_format(&url->address, text);
    ASSERT(redis_address_parse(&again, str_of(text), 1) == 0);
    ASSERT(again.port == url->address.port && strcmp(again.host, url->address.host) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size ? size : 1); /* exact, so that reading on is noticed */
    memcpy(text, data, size);
    struct redis_url url;
    const char *problem = NULL;
    if (redis_url_parse(&url, str_make(text, size), &problem) == 0) {
        check_url(&url);
    } else {
        ASSERT(problem != NULL);
    }
    free(text);
    return 0;
}
