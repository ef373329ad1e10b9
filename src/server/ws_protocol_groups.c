/* Joining groups, in hello and later. */
#include "base/clock.h"
#include "base/err.h"
#include "server/grant.h"
#include "server/stats.h"
#include "server/ws_protocol_private.h"

bool ws_protocol_may_join(const struct worker *worker, const struct session *session,
                          struct str group)
{
    const struct ws_extra *extra = ws_session_peek_extra(worker, session);
    const struct settings_app *app = ws_protocol_tenant(worker, session)->settings;
    return app && credential_may_join(app, extra ? extra->groups : NULL,
                                      extra ? extra->group_count : 0, group);
}

struct group_search {
    struct str name;
    bool found;
};

static void compare_group(void *arg, struct str group)
{
    struct group_search *search = arg;
    search->found = search->found || str_equal(search->name, group);
}

const char *ws_protocol_check_join(const struct worker *worker, const struct session *session,
                                   struct str group)
{
    if (!token_name_is_clean(group, ws_protocol_limits(worker)->name_bytes)) {
        return "invalid_group";
    }
    struct group_search search = {group, false};
    shard_visit_session_groups(worker->shard, session, compare_group, &search);
    if (search.found) {
        return "";
    }
    bool full = session->group_count >= ws_protocol_limits(worker)->groups_per_session;
    return full ? "group_limit" : NULL;
}

const char *ws_protocol_enter(struct worker *worker, struct session *session, struct str group,
                              uint32_t tag)
{
    switch (shard_join(worker->shard, session, group, tag)) {
    case 0: return NULL;
    case ERR_EXISTS: return "";
    default: return "overloaded";
    }
}

const char *ws_protocol_join(struct worker *worker, struct session *session, struct str group,
                             bool is_allowed)
{
    const char *code = ws_protocol_check_join(worker, session, group);
    if (code) {
        return code;
    }
    is_allowed = is_allowed || ws_protocol_may_join(worker, session, group);
    return is_allowed ? ws_protocol_enter(worker, session, group, 0) : "forbidden";
}

static const char *title_of(const char *code)
{
    static const struct {
        const char *code;
        const char *title;
    } titles[] = {
        {"invalid_group", "The group's name is empty, too long, or has control characters."},
        {"forbidden", "This session may not join the group."},
        {"group_limit", "The session is in as many groups as it may be."},
        {"overloaded", "The gateway is short of memory or of room for what waits."},
        {"not_found", "The session is not in the group."},
        {"unsupported", "The gateway does not take this frame."},
        {"invalid_type", "The type is missing, too long, or has control characters."},
        {"invalid_frame", "A key of the frame is missing or of the wrong type."},
    };
    for (size_t i = 0; i < sizeof(titles) / sizeof(titles[0]); i++) {
        if (str_equal(str_of(code), str_of(titles[i].code))) {
            return titles[i].title;
        }
    }
    return "";
}

void ws_protocol_refuse(struct worker *worker, struct session *session, uint32_t tag,
                        struct str group, const char *code)
{
    stats_frame_refused(worker, session, code);
    ws_protocol_send_err(worker, session, tag, group, code, title_of(code));
}

void ws_protocol_join_in_hello(struct worker *worker, struct session *session, struct str group,
                               bool is_allowed)
{
    const char *code = ws_protocol_join(worker, session, group, is_allowed);
    if (code && *code) {
        bool shown = token_name_is_clean(group, ws_protocol_limits(worker)->name_bytes);
        ws_protocol_refuse(worker, session, WS_TAG_NO_ANSWER, shown ? group : STR(""), code);
    }
}

void ws_protocol_join_by_grant(struct worker *worker, struct session *session, struct str text)
{
    struct grant grant;
    char memory[GRANT_MEMORY];
    struct str user = shard_session_user(worker->shard, session);
    int err = cluster_keys_read_grant(&worker->gateway->keys, &grant, memory, text,
                                      clock_wall_ms());
    bool good = !err && user.len && str_equal(grant.user, user) &&
                str_equal(grant.app, str_of(ws_protocol_tenant(worker, session)->name)) &&
                !shard_grant_is_revoked(worker->shard, session->app, user, grant.group,
                                        grant.issued_ms);
    if (good) {
        ws_protocol_join_in_hello(worker, session, grant.group, true);
    } else {
        ws_protocol_refuse(worker, session, WS_TAG_NO_ANSWER, STR(""), "forbidden");
    }
}
