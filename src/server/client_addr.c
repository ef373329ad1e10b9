#include "server/client_addr.h"

#include "base/err.h"
#include "proto/forwarded.h"
#include "server/stats.h"

/* The lines of one header from the last to the first, and the elements of each from the right. */
struct walk {
    const struct http_fields *fields;
    struct str name;
    uint32_t line; /* lines before it are still to come */
    struct str rest;
};

static bool next_line(struct walk *walk)
{
    while (walk->line > 0) {
        const struct http_header *header = &walk->fields->headers[--walk->line];
        if (str_equal_nocase(header->name, walk->name)) {
            walk->rest = header->value.ptr ? header->value : STR("");
            return true;
        }
    }
    return false;
}

static bool next_element(struct walk *walk, struct str *out_element)
{
    while (!forwarded_cut_last(&walk->rest, out_element)) {
        if (!next_line(walk)) {
            return false;
        }
    }
    return true;
}

static const char *problem_of(int err)
{
    return err == ERR_NOT_FOUND ? "hidden" : "malformed";
}

struct addr client_addr_of(const struct settings_forwarded *settings,
                           const struct http_request *request, const struct addr *peer)
{
    bool is_standard = settings->header == SETTINGS_FORWARDED;
    struct walk walk = {&request->fields,
                        is_standard ? STR("Forwarded") : STR("X-Forwarded-For"),
                        request->fields.count,
                        {NULL, 0}};
    struct addr client = *peer;
    struct str element;
    for (int hop = 0; hop < CLIENT_ADDR_HOPS; hop++) {
        if (!addr_is_among(&client, settings->from, settings->from_count) ||
            !next_element(&walk, &element)) {
            break;
        }
        struct addr next = {.port = 0};
        int err = is_standard ? forwarded_read(element, next.ip)
                              : forwarded_read_plain(element, next.ip);
        if (err) {
            stats_forwarded_ignored(problem_of(err));
            break;
        }
        client = next;
    }
    return client;
}
